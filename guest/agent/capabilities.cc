#include "guest/agent/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "base/escape.h"

namespace hmvm::agent {
namespace {

// In the order of their numbers, from CAP_CHOWN = 0.
constexpr std::array<std::string_view, 41> kNames = {"CAP_CHOWN",
                                                     "CAP_DAC_OVERRIDE",
                                                     "CAP_DAC_READ_SEARCH",
                                                     "CAP_FOWNER",
                                                     "CAP_FSETID",
                                                     "CAP_KILL",
                                                     "CAP_SETGID",
                                                     "CAP_SETUID",
                                                     "CAP_SETPCAP",
                                                     "CAP_LINUX_IMMUTABLE",
                                                     "CAP_NET_BIND_SERVICE",
                                                     "CAP_NET_BROADCAST",
                                                     "CAP_NET_ADMIN",
                                                     "CAP_NET_RAW",
                                                     "CAP_IPC_LOCK",
                                                     "CAP_IPC_OWNER",
                                                     "CAP_SYS_MODULE",
                                                     "CAP_SYS_RAWIO",
                                                     "CAP_SYS_CHROOT",
                                                     "CAP_SYS_PTRACE",
                                                     "CAP_SYS_PACCT",
                                                     "CAP_SYS_ADMIN",
                                                     "CAP_SYS_BOOT",
                                                     "CAP_SYS_NICE",
                                                     "CAP_SYS_RESOURCE",
                                                     "CAP_SYS_TIME",
                                                     "CAP_SYS_TTY_CONFIG",
                                                     "CAP_MKNOD",
                                                     "CAP_LEASE",
                                                     "CAP_AUDIT_WRITE",
                                                     "CAP_AUDIT_CONTROL",
                                                     "CAP_SETFCAP",
                                                     "CAP_MAC_OVERRIDE",
                                                     "CAP_MAC_ADMIN",
                                                     "CAP_SYSLOG",
                                                     "CAP_WAKE_ALARM",
                                                     "CAP_BLOCK_SUSPEND",
                                                     "CAP_AUDIT_READ",
                                                     "CAP_PERFMON",
                                                     "CAP_BPF",
                                                     "CAP_CHECKPOINT_RESTORE"};
static_assert(kNames.size() == CAP_LAST_CAP + 1);

}  // namespace

Result<uint64_t> ParseCapabilities(const std::vector<std::string>& names) {
  uint64_t set = 0;
  for (const std::string& name : names) {
    size_t number = 0;
    while (number < kNames.size() && kNames[number] != name) ++number;
    if (number == kNames.size()) return Error{EINVAL, "unknown capability \"" + Escape(name) + "\""};
    set |= uint64_t{1} << number;
  }
  return set;
}

Result<> LimitBoundingSet(uint64_t set) {
  for (int number = 0; ::prctl(PR_CAPBSET_READ, number) >= 0; ++number) {
    if (set >> number & 1) continue;
    if (::prctl(PR_CAPBSET_DROP, number) < 0)
      return Error{errno, "drop capability " + std::to_string(number)};
  }
  return {};
}

Result<> SetCapabilities(uint64_t set) {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
    return Error{errno, "clear ambient capabilities"};
  }
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = data[half].permitted = static_cast<uint32_t>(set >> (32 * half));
  }
  if (::syscall(SYS_capset, &header, data) < 0) return Error{errno, "set capabilities"};
  return {};
}

}  // namespace hmvm::agent
