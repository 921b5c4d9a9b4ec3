#include "guest/agent/in_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hmvm::agent {
namespace {

UniqueFd OpenPath(int root, const std::string& path) {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
}

}  // namespace

Result<UniqueFd> EnsureInRoot(int root, const std::string& path, FileKind kind) {
  UniqueFd found = OpenPath(root, path);
  if (found.valid()) return found;
  const size_t slash = path.find_last_of('/');
  if (errno != ENOENT || slash == std::string::npos || slash + 1 == path.size()) {
    return Error{errno, "open '" + path + "' in the container"};
  }
  HMVM_TRY_ASSIGN(const UniqueFd parent,
                  EnsureInRoot(root, slash == 0 ? "/" : path.substr(0, slash), FileKind::kDirectory));
  const std::string name = path.substr(slash + 1);
  const int made = kind == FileKind::kDirectory ? ::mkdirat(parent.get(), name.c_str(), 0755)
                                                : ::mknodat(parent.get(), name.c_str(), S_IFREG | 0644, 0);
  // EEXIST: a link that leads nowhere; the lookup below names it.
  if (made < 0 && errno != EEXIST) return Error{errno, "create '" + path + "' in the container"};
  found = OpenPath(root, path);
  if (!found.valid()) return Error{errno, "open '" + path + "' in the container"};
  return found;
}

Result<> MountOn(int target, const std::string& source, const std::string& type, unsigned long flags,
                 const std::string& data) {
  const std::string path = "/proc/self/fd/" + std::to_string(target);
  if (::mount(source.c_str(), path.c_str(), type.c_str(), flags, data.c_str()) < 0) {
    return Error{errno, "mount '" + source + "' (" + type + ")"};
  }
  return {};
}

}  // namespace hmvm::agent
