#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <ctime>
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

sock_filter Jump(uint16_t test, uint32_t value, size_t if_true, size_t if_false) {
  return BPF_JUMP(static_cast<uint16_t>(BPF_JMP | test | BPF_K), value, static_cast<uint8_t>(if_true),
                  static_cast<uint8_t>(if_false));
}
sock_filter Load(size_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }

// Allows what the rule allows; falls through at all else.
void Append(std::vector<sock_filter>& filter, const SyscallRule& rule) {
  constexpr size_t kHalf = 3;  // instructions: load, and, compare
  size_t left = 2 * kHalf * rule.checks.size() + 1;
  filter.push_back(Load(offsetof(seccomp_data, nr)));
  filter.push_back(Jump(BPF_JEQ, static_cast<uint32_t>(rule.number), 0, left));
  for (const ArgumentCheck& check : rule.checks) {
    // A 64-bit argument in two halves, the lower one first on this machine.
    for (const unsigned shift : {0u, 32u}) {
      left -= kHalf;
      filter.push_back(Load(offsetof(seccomp_data, args) + 8 * check.index + shift / 8));
      filter.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, static_cast<uint32_t>(check.mask >> shift)));
      filter.push_back(Jump(BPF_JEQ, static_cast<uint32_t>(check.value >> shift), 0, left));
    }
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

// What comes before the filter of a role: it sees to all that is not allowed here, other architectures too.
std::vector<sock_filter> Further(std::span<const SyscallRule> rules) {
  if (rules.empty()) return {};
  std::vector<sock_filter> allowed;
  for (const SyscallRule& rule : rules) Append(allowed, rule);
  std::vector<sock_filter> filter = {Load(offsetof(seccomp_data, arch)),
                                     Jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0),
                                     BPF_STMT(BPF_JMP | BPF_JA, static_cast<uint32_t>(allowed.size()))};
  filter.insert(filter.end(), allowed.begin(), allowed.end());
  return filter;
}

}  // namespace

Result<SeccompMode> ParseSeccompMode(std::string_view name) {
  if (name == "kill") return SeccompMode::kKill;
  if (name == "log") return SeccompMode::kLog;
  if (name == "off") return SeccompMode::kOff;
  return Error{0, "seccomp mode '" + std::string(name) + "': there are kill, log and off"};
}

void SettleLibrary() {
  ::mallopt(M_ARENA_MAX, 1);
  // Without TZ the file would be looked for with each line of the log.
  ::setenv("TZ", ":/etc/localtime", /*overwrite=*/0);
  ::tzset();
}

Result<> EnterRole(ThreadRole role, SeccompMode mode, std::span<const SyscallRule> further) {
  if (mode == SeccompMode::kOff) return {};
  const std::span<const sock_filter> made = FilterOf(role);
  std::vector<sock_filter> filter = Further(further);
  filter.insert(filter.end(), made.begin(), made.end());
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
