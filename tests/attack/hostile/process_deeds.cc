// Programs, processes, signals.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

// A child that was made is not let run on.
std::string Child(long pid) {
  if (pid == 0) ::syscall(SYS_exit_group, 0);
  return Stopped(pid);
}

std::string CloneWith(uint64_t flags) {
  return Child(::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0));
}

std::string Clone3() {
  clone_args arguments = {};
  arguments.exit_signal = SIGCHLD;
  return Child(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

std::string Execute() {
  char shell[] = "/bin/sh";
  char* const argv[] = {shell, nullptr};
  char* const environment[] = {nullptr};
  return Call(SYS_execve, shell, argv, environment);
}

std::string ExecuteDescriptor() {
  char name[] = "x";
  char* const argv[] = {name, nullptr};
  char* const environment[] = {nullptr};
  return Call(SYS_execveat, kReadOnlyDisk, "", argv, environment, AT_EMPTY_PATH);
}

std::string QueueSignals(int pid) {
  constexpr int kMany = 100'000;
  siginfo_t info = {};
  info.si_code = SI_QUEUE;
  for (int i = 0; i < kMany; ++i) {
    if (::syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info) < 0) return Errno(errno);
  }
  return "";
}

std::string WriteRemotely(long number, int pid) {
  int value = 0;
  const iovec here = {&value, sizeof(value)};
  const iovec there = {reinterpret_cast<void*>(0x400000), sizeof(value)};
  return Call(number, pid, &here, 1, &there, 1, 0);
}

}  // namespace

const Deeds& ProcessDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
      {"execve", [](T) { return Execute(); }},
      {"execveat", [](T) { return ExecuteDescriptor(); }},
      {"fork", [](T) { return Child(::syscall(SYS_fork)); }},
      {"clone", [](T) { return CloneWith(0); }},
      {"clone3", [](T) { return Clone3(); }},
      {"clone-namespaces", [](T) { return CloneWith(CLONE_NEWNET | CLONE_NEWNS); }},
      {"unshare-user", [](T) { return Call(SYS_unshare, CLONE_NEWUSER); }},
      {"unshare-mount", [](T) { return Call(SYS_unshare, CLONE_NEWNS); }},
      {"setns", [](T) { return Call(SYS_setns, kReadOnlyDisk, 0); }},
      {"ptrace", [](T t) { return Call(SYS_ptrace, PTRACE_ATTACH, t.pid, 0, 0); }},
      {"process-vm-readv", [](T t) { return WriteRemotely(SYS_process_vm_readv, t.pid); }},
      {"process-vm-writev", [](T t) { return WriteRemotely(SYS_process_vm_writev, t.pid); }},
      {"pidfd-open", [](T t) { return Call(SYS_pidfd_open, t.pid, 0); }},
      {"kill", [](T t) { return Call(SYS_kill, t.pid, SIGKILL); }},
      {"kill-all", [](T) { return Call(SYS_kill, -1, SIGUSR1); }},
      {"tgkill", [](T t) { return Call(SYS_tgkill, t.pid, t.pid, SIGKILL); }},
      {"signal-queue", [](T t) { return QueueSignals(t.pid); }},
      {"priority", [](T) { return Call(SYS_setpriority, PRIO_PROCESS, 0, -20); }},
      {"realtime",
       [](T) {
         const sched_param parameters = {.sched_priority = 50};
         return Call(SYS_sched_setscheduler, 0, SCHED_FIFO, &parameters);
       }},
  };
  return deeds;
}

}  // namespace hmvm::test
