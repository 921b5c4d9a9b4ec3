#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "images/digest.h"
#include "images/layer.h"
#include "images/manifest.h"

namespace hmvm {

struct LayerSource {
  std::string path;  // below the directory
  Compression compression = Compression::kDetect;
  std::optional<Digest> blob;  // not told by `docker save`
  Digest diff_id;
};

// One linux/amd64 image in a directory, its documents read and verified, its layers not yet.
struct ImageSource {
  Digest id;  // of the config
  ConfigFile config;
  std::vector<LayerSource> layers;
  std::vector<std::string> names;  // as NormalizeName returns them
};

// Finds the image in `directory`, an OCI layout or an unpacked `docker save` archive. `fallback_name` is for
// images that carry no name or only a tag, may be empty; `wanted` (normalized, or empty) selects among
// several.
Result<ImageSource> ReadImageSource(int directory, const std::string& fallback_name,
                                    const std::string& wanted);

// Opens a regular file below `directory`: no link leads out of it, no FIFO blocks.
Result<UniqueFd> OpenBelow(int directory, const std::string& path);

}  // namespace hmvm
