// The store's own files: one JSON document an image, one a name.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "images/image.h"

namespace hmvm {

// Names and rootfs_path are not part of the document: they have their own files.
std::string FormatImageFile(const Image& image);
Result<Image> ParseImageFile(std::string_view text);

struct NameFile {
  std::string name;
  std::string id;
};
std::string FormatNameFile(const NameFile& file);
Result<NameFile> ParseNameFile(std::string_view text);

// "team/tool:1" -> "team%2Ftool:1": a file's name without slashes, different for different names.
std::string NameFileName(const std::string& name);

}  // namespace hmvm
