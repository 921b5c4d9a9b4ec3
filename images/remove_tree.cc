#include "images/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace hmvm {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Result<std::vector<std::string>> Entries(int dir, const std::string& name) {
  const int fd = ::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return Error{errno, "open directory '" + name + "'"};
  const Directory directory(::fdopendir(fd));
  if (!directory) {
    Error error{errno, "open directory '" + name + "'"};
    ::close(fd);
    return error;
  }
  std::vector<std::string> entries;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    const std::string_view text = entry->d_name;
    if (text != "." && text != "..") entries.emplace_back(text);
  }
  if (errno != 0) return Error{errno, "read directory '" + name + "'"};
  return entries;
}

// Moves the directory `name` of `from` into `to` under a free name, which it returns.
Result<std::string> MoveUp(int from, const std::string& name, int to, uint64_t& counter) {
  for (;;) {
    std::string moved = ".rm-" + std::to_string(counter++);
    if (::renameat2(from, name.c_str(), to, moved.c_str(), RENAME_NOREPLACE) == 0) return moved;
    if (errno != EEXIST) return Error{errno, "remove '" + name + "'"};
  }
}

}  // namespace

Result<> RemoveTree(int dir, const std::string& name) {
  if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR) return Error{errno, "remove '" + name + "'"};
  std::vector<std::string> pending = {name};
  uint64_t counter = 0;
  while (!pending.empty()) {
    const std::string current = std::move(pending.back());
    pending.pop_back();
    HMVM_TRY_ASSIGN(const std::vector<std::string> entries, Entries(dir, current));
    UniqueFd fd(::openat(dir, current.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    for (const std::string& entry : entries) {
      if (::unlinkat(fd.get(), entry.c_str(), 0) == 0 || errno == ENOENT) continue;
      if (errno != EISDIR) return Error{errno, "remove '" + entry + "'"};
      if (::unlinkat(fd.get(), entry.c_str(), AT_REMOVEDIR) == 0) continue;
      if (errno != ENOTEMPTY && errno != EEXIST) return Error{errno, "remove directory '" + entry + "'"};
      HMVM_TRY_ASSIGN(std::string moved, MoveUp(fd.get(), entry, dir, counter));
      pending.push_back(std::move(moved));
    }
    if (::unlinkat(dir, current.c_str(), AT_REMOVEDIR) < 0) {
      return Error{errno, "remove directory '" + current + "'"};
    }
  }
  return {};
}

Result<> RemoveContents(int dir) {
  HMVM_TRY_ASSIGN(const std::vector<std::string> entries, Entries(dir, "."));
  for (const std::string& entry : entries) HMVM_TRY(RemoveTree(dir, entry));
  return {};
}

}  // namespace hmvm
