#include "guest/agent/namespaces.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "guest/agent/child_channel.h"

namespace hmvm::agent {
namespace {

Result<> PrepareInside(const std::function<Result<>()>& prepare) {
  // Only now: the namespace's root is the cgroup of the process that makes it.
  if (::unshare(CLONE_NEWCGROUP) < 0) return Error{errno, "make a cgroup namespace"};
  if (::mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0) return Error{errno, "make mounts private"};
  return prepare();
}

Result<UniqueFd> OpenNamespace(int pid, const char* name) {
  return OpenFile("/proc/" + std::to_string(pid) + "/ns/" + name, O_RDONLY);
}

Result<Namespaces> OpenAll(int pid) {
  Namespaces all;
  HMVM_TRY_ASSIGN(all.mount, OpenNamespace(pid, "mnt"));
  HMVM_TRY_ASSIGN(all.ipc, OpenNamespace(pid, "ipc"));
  HMVM_TRY_ASSIGN(all.uts, OpenNamespace(pid, "uts"));
  HMVM_TRY_ASSIGN(all.cgroup, OpenNamespace(pid, "cgroup"));
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
  HMVM_TRY_ASSIGN(SocketPair channel, MakeChildChannel());
  UniqueFd pidfd;
  HMVM_TRY_ASSIGN(const int pid, ForkInto(cgroup, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, pidfd));
  if (pid == 0) {
    channel.first.reset();
    if (const auto prepared = PrepareInside(prepare); !prepared.has_value()) {
      SendError(channel.second.get(), prepared.error());
      ::_exit(1);
    }
    // Ready: the agent's end of the channel closes once it has opened the namespaces.
    ::shutdown(channel.second.get(), SHUT_WR);
    char nothing;
    (void)!::read(channel.second.get(), &nothing, sizeof(nothing));
    ::_exit(0);
  }
  channel.second.reset();
  auto report = ReceiveFromChild(channel.first.get());
  Result<Namespaces> made;
  if (!report.has_value()) {
    made = report.error();
  } else if (report->has_value() && (*report)->error.has_value()) {
    made = *(*report)->error;
  } else {
    made = OpenAll(pid);
  }
  channel.first.reset();
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
