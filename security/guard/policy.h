// The policy of a VMM (security/syscall_rules) in the form that the guard's programs read.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "bpf/guard.h"
#include "security/syscall_rules.h"

namespace hmvm {

struct GuardRules {
  std::vector<SyscallRule> setting_up;
  std::vector<SyscallRule> sealed;
  std::vector<uint8_t> uring_operations;  // IORING_OP_*, below 64
};

// hmvm-vmm's: the set-up is coarse; once sealed, what the threads of all roles together may do.
GuardRules VmmRules();

// Equal rules make equal bytes. E2BIG: more rows than the guard has room for; EINVAL: a rule that it can't
// express. Both name the system call's number.
Result<std::unique_ptr<guard_policy>> CompileGuardPolicy(const GuardRules& rules);

}  // namespace hmvm
