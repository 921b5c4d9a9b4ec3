#include "images/store_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "images/metadata.h"
#include "images/remove_tree.h"

namespace hmvm {
namespace {

constexpr std::string_view kErofs = ".erofs";

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

std::string StoreFolder::ImageFile(const std::string& id) const {
  return images + "/" + id.substr(kAlgorithm.size()) + std::string(kJson);
}

std::string StoreFolder::NameFile(const std::string& name) const { return names + "/" + NameFileName(name); }

std::string StoreFolder::Rootfs(const std::string& chain_id) const {
  return rootfs + "/" + chain_id.substr(kAlgorithm.size()) + std::string(kErofs);
}

Result<UniqueFd> StoreFolder::Lock(int operation) const {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(lock, O_RDWR | O_CREAT, 0600));
  while (::flock(fd.get(), operation) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + lock + "'"};
  }
  return fd;
}

Result<> StoreFolder::RemoveLeftovers() const {
  HMVM_TRY_ASSIGN(const UniqueFd directory, OpenFile(tmp, O_RDONLY | O_DIRECTORY));
  HMVM_TRY(RemoveContents(directory.get()));
  for (const std::string& path : {images, names}) {
    HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(path));
    for (const std::string& file : files) {
      if (!file.ends_with(kJson)) HMVM_TRY(Unlink(path + "/" + file));
    }
  }
  return {};
}

Result<std::vector<std::string>> FilesIn(const std::string& path) {
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (!directory) return Error{errno, "open directory '" + path + "'"};
  std::vector<std::string> files;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') files.emplace_back(entry->d_name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

Result<> MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST)
    return Error{errno, "make directory '" + path + "'"};
  return {};
}

Result<> Unlink(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return Error{errno, "remove '" + path + "'"};
  return {};
}

}  // namespace hmvm
