#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "security/seccomp.h"

namespace hmvm {
namespace {

// constexpr sock_filter kControlFilter[] = {...}, and the same of the other roles.
#include "security/filters.inc"

std::span<const sock_filter> FilterOf(ThreadRole role) {
  switch (role) {
    case ThreadRole::kControl:
      return kControlFilter;
    case ThreadRole::kDevice:
      return kDeviceFilter;
    case ThreadRole::kVcpu:
      return kVcpuFilter;
    case ThreadRole::kWorker:
      return kWorkerFilter;
  }
  return {};
}

}  // namespace

Result<SeccompMode> ParseSeccompMode(std::string_view name) {
  if (name == "kill") return SeccompMode::kKill;
  if (name == "log") return SeccompMode::kLog;
  if (name == "off") return SeccompMode::kOff;
  return Error{0, "seccomp mode '" + std::string(name) + "': there are kill, log and off"};
}

Result<> EnterRole(ThreadRole role, SeccompMode mode) {
  if (mode == SeccompMode::kOff) return {};
  const std::span<const sock_filter> made = FilterOf(role);
  std::vector<sock_filter> filter(made.begin(), made.end());
  for (sock_filter& instruction : filter) {
    if (mode == SeccompMode::kLog && instruction.code == (BPF_RET | BPF_K) &&
        instruction.k == SECCOMP_RET_KILL_PROCESS) {
      instruction.k = SECCOMP_RET_LOG;
    }
  }
  const sock_fprog program = {.len = static_cast<uint16_t>(filter.size()), .filter = filter.data()};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
    return Error{errno, "seccomp filter of role " + std::string(NameOf(role))};
  }
  return {};
}

std::string_view WhyNoSeccomp() {
  const uint32_t action = SECCOMP_RET_KILL_PROCESS;
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0
             ? ""
             : "the kernel has no seccomp filters";
}

}  // namespace hmvm
