// seccomp filters of the roles, made of security/syscall_rules at build time: starting a machine costs no
// compiling.
#pragma once

#include <string_view>

#include "base/result.h"
#include "security/syscall_rules.h"

namespace hmvm {

enum class SeccompMode {
  kKill,  // a call that is not in the table ends the process, with SIGSYS
  kLog,   // it happens, and the kernel's log says so: for development
  kOff,
};
// "kill", "log", "off".
Result<SeccompMode> ParseSeccompMode(std::string_view name);

// Has the C library do now, or never, what it would do later in any thread and no role may: before the first
// thread. For local time it looks for /etc/localtime; when it gives back memory of a thread's own arena, it
// reads /proc/sys/vm/overcommit_memory. So the time zone is read, and all threads share the one arena that it
// shrinks by brk(2).
void SettleLibrary();

// From now on the calling thread, and every one that it starts, makes the system calls of `role` and
// `further` ones only. The thread has no_new_privs. EINVAL: a kernel without seccomp filters, or without
// SECCOMP_RET_LOG.
Result<> EnterRole(ThreadRole role, SeccompMode mode, std::span<const SyscallRule> further);

// Why this kernel has no such filters; empty: it has.
std::string_view WhyNoSeccomp();

}  // namespace hmvm
