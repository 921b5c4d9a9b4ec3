#include "guest/agent/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "base/escape.h"

namespace hmvm::agent {

Result<uint64_t> ParseCapabilities(const std::vector<std::string>& names) {
  uint64_t set = 0;
  for (const std::string& name : names) {
    const auto capability = FindCapability(name);
    if (!capability.has_value()) return Error{EINVAL, "unknown capability \"" + Escape(name) + "\""};
    set |= *capability;
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

Result<> SetCapabilities(uint64_t effective, uint64_t more) {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
    return Error{errno, "clear ambient capabilities"};
  }
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<uint32_t>(effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>((effective | more) >> (32 * half));
  }
  if (::syscall(SYS_capset, &header, data) < 0) return Error{errno, "set capabilities"};
  return {};
}

}  // namespace hmvm::agent
