#include "guest/agent/namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "guest/agent/shared_child.h"

namespace hmvm::agent {
namespace {

Result<> PrepareInside(const std::function<Result<>()>& prepare) {
  // Only now: the namespace's root is the cgroup of the process that makes it.
  if (::unshare(CLONE_NEWCGROUP) < 0) return Error{errno, "make a cgroup namespace"};
  if (::mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0) return Error{errno, "make mounts private"};
  return prepare();
}

Result<UniqueFd> OpenNamespace(const UniqueFd& own, const char* name) {
  UniqueFd fd(::openat(own.get(), name, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error{errno, std::string("open the container's namespace '") + name + "'"};
  return fd;
}

Result<Namespaces> PrepareAndOpen(const std::function<Result<>()>& prepare) {
  // The new root has no /proc.
  HMVM_TRY_ASSIGN(const UniqueFd own, OpenFile("/proc/self/ns", O_RDONLY | O_DIRECTORY));
  HMVM_TRY(PrepareInside(prepare));
  Namespaces all;
  HMVM_TRY_ASSIGN(all.mount, OpenNamespace(own, "mnt"));
  HMVM_TRY_ASSIGN(all.ipc, OpenNamespace(own, "ipc"));
  HMVM_TRY_ASSIGN(all.uts, OpenNamespace(own, "uts"));
  HMVM_TRY_ASSIGN(all.cgroup, OpenNamespace(own, "cgroup"));
  return all;
}

}  // namespace

Result<int> ForkInto(int cgroup, unsigned long flags, UniqueFd& pidfd) {
  int child_pidfd = -1;
  clone_args args = {};
  args.flags = flags | CLONE_PIDFD | CLONE_INTO_CGROUP;
  // SAFETY: clone3(2) takes addresses as numbers.
  args.pidfd = reinterpret_cast<uintptr_t>(&child_pidfd);
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(cgroup);
  const long pid = ::syscall(SYS_clone3, &args, sizeof(args));
  if (pid < 0) return Error{errno, "clone3"};
  if (pid > 0) pidfd = UniqueFd(child_pidfd);
  return static_cast<int>(pid);
}

Result<Namespaces> Namespaces::Create(int cgroup, const std::function<Result<>()>& prepare) {
  Result<Namespaces> made;
  UniqueFd pidfd;
  HMVM_TRY_ASSIGN(const int pid,
                  RunSharedChild(cgroup, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_FILES, pidfd,
                                 [&] { made = PrepareAndOpen(prepare); }));
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return made;
}

Result<> Namespaces::Enter() const {
  if (::setns(mount.get(), CLONE_NEWNS) < 0) return Error{errno, "enter the container's mount namespace"};
  if (::setns(ipc.get(), CLONE_NEWIPC) < 0) return Error{errno, "enter the container's ipc namespace"};
  if (::setns(uts.get(), CLONE_NEWUTS) < 0) return Error{errno, "enter the container's uts namespace"};
  if (::setns(cgroup.get(), CLONE_NEWCGROUP) < 0) {
    return Error{errno, "enter the container's cgroup namespace"};
  }
  return {};
}

}  // namespace hmvm::agent
