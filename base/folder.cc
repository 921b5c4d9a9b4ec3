#include "base/folder.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

namespace hmvm {

Result<> MakePrivateFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Error{error.value(), "create folder '" + path + "'"};
  if (::chmod(path.c_str(), 0700) < 0) return Error{errno, "protect folder '" + path + "'"};
  return {};
}

Result<> RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return Error{error.value(), "remove folder '" + path + "'"};
  return {};
}

}  // namespace hmvm
