#include "base/folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace hmvm {

// Private from its first moment on, and without the umask, which is all threads'.
Result<> MakePrivateFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno == ENOENT) {
    std::filesystem::path made;
    for (const std::filesystem::path& part : std::filesystem::path(path)) {
      made /= part;
      if (::mkdir(made.c_str(), 0700) < 0 && errno != EEXIST)
        return Error{errno, "create folder '" + path + "'"};
    }
  } else if (errno != EEXIST) {
    return Error{errno, "create folder '" + path + "'"};
  }
  std::error_code none;
  if (!std::filesystem::is_directory(path, none)) return Error{ENOTDIR, "create folder '" + path + "'"};
  return {};
}

Result<std::vector<std::string>> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename());
  }
  if (error && error.value() != ENOENT) return Error{error.value(), "read folder '" + path + "'"};
  std::ranges::sort(names);
  return names;
}

Result<> RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return Error{error.value(), "remove folder '" + path + "'"};
  return {};
}

}  // namespace hmvm
