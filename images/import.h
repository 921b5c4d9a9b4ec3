#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "images/image.h"

namespace hmvm {

// One import's working directory, below the store's tmp/, and what comes out of it.
struct ImportResult {
  Image image;                     // without size_bytes
  std::vector<std::string> names;  // that the image carries, or has after its file
};

// Reads the image at `path` (a directory or an archive) and, unless it is there already, makes its root file
// system `rootfs_dir`/CHAIN.erofs. Works below the empty directory `work_dir`, on the same file system; the
// caller removes that afterwards in any case, and holds the store's lock. `wanted` as in ReadImageSource.
Result<ImportResult> ImportImage(const std::string& path, const std::string& work_dir,
                                 const std::string& rootfs_dir, const std::string& wanted);

// image-spec, config.md: identifies the layers' content together with their order.
std::string ChainId(const std::vector<std::string>& diff_ids);

}  // namespace hmvm
