#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "guest/agent/shared_child.h"

namespace hmvm::agent {
namespace {

// One child at a time: the agent has one thread, and that waits.
alignas(16) std::array<std::byte, 256 << 10> child_stack;

void RunInChild(void* run) {
  // SAFETY: what RunSharedChild() has passed.
  (*static_cast<const std::function<void()>*>(run))();
  ::_exit(0);
}

// SAFETY: in the child the registers are the parent's but for rax and the stack, which is empty and aligned:
// it goes into RunInChild() and nowhere else. The parent comes here when the child uses the memory no more.
long Clone3(const clone_args& args, const void* run) {
  long result;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %[run], %%rdi\n\t"
      "callq *%[child]\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "0"(long{SYS_clone3}), "D"(&args), "S"(sizeof(args)), [run] "r"(run), [child] "r"(&RunInChild)
      : "rcx", "r11", "memory");
  return result;
}

}  // namespace

Result<int> RunSharedChild(int cgroup, unsigned long flags, UniqueFd& pidfd,
                           const std::function<void()>& run) {
  int child_pidfd = -1;
  clone_args args = {};
  args.flags = flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP;
  // SAFETY: clone3(2) takes addresses as numbers.
  args.pidfd = reinterpret_cast<uintptr_t>(&child_pidfd);
  args.stack = reinterpret_cast<uintptr_t>(child_stack.data());
  args.stack_size = child_stack.size();
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(cgroup);
  const long pid = Clone3(args, &run);
  if (pid < 0) return Error{static_cast<int>(-pid), "clone3"};
  pidfd = UniqueFd(child_pidfd);
  return static_cast<int>(pid);
}

}  // namespace hmvm::agent
