#include "guest/agent/mount_options.h"

#include <sys/mount.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace hmvm::agent {
namespace {

struct Row {
  std::string_view name;
  unsigned long set;
  unsigned long clear = 0;
};

constexpr Row kFlags[] = {
    {"defaults", 0},
    {"ro", MS_RDONLY},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC},
    {"noatime", MS_NOATIME},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"bind", MS_BIND},
    {"rbind", MS_BIND | MS_REC},
};

constexpr Row kPropagation[] = {
    {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
    {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
    {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

}  // namespace

MountOptions ParseMountOptions(const std::vector<std::string>& options) {
  MountOptions parsed;
  for (const std::string& option : options) {
    const auto flag = std::ranges::find(kFlags, option, &Row::name);
    const auto propagation = std::ranges::find(kPropagation, option, &Row::name);
    if (flag != std::end(kFlags)) {
      parsed.flags = (parsed.flags & ~flag->clear) | flag->set;
    } else if (propagation != std::end(kPropagation)) {
      parsed.propagation = propagation->set;
    } else {
      if (!parsed.data.empty()) parsed.data += ',';
      parsed.data += option;
    }
  }
  return parsed;
}

}  // namespace hmvm::agent
