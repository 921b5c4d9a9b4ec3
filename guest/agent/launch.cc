#include "guest/agent/launch.h"

#include <sched.h>
#include <unistd.h>

#include "base/file.h"
#include "guest/agent/child.h"
#include "guest/agent/child_channel.h"
#include "guest/agent/shared_child.h"

namespace hmvm::agent {
namespace {

Error NotRunning() { return Error{ESRCH, "the container is not running"}; }

// A child in the pid namespace of the container's first process. The agent itself stays in its own; only what
// it forks goes there, and only for this moment.
Result<int> ForkBeside(int init_pidfd, int cgroup, UniqueFd& pidfd) {
  HMVM_TRY_ASSIGN(const UniqueFd own, OpenFile("/proc/self/ns/pid", O_RDONLY));
  if (::setns(init_pidfd, CLONE_NEWPID) < 0) {
    if (errno == ESRCH) return NotRunning();
    return Error{errno, "enter the container's pid namespace"};
  }
  auto pid = ForkInto(cgroup, 0, pidfd);
  if (pid.has_value() && *pid == 0) return pid;
  if (::setns(own.get(), CLONE_NEWPID) < 0) return Error{errno, "return to the agent's pid namespace"};
  // How the kernel says that the namespace has lost its first process.
  if (!pid.has_value() && pid.error().code == ENOMEM) return NotRunning();
  return pid;
}

}  // namespace

Result<Launched> Launch(const v1::Process& process, const Surroundings& surroundings,
                        const std::array<UniqueFd, 3>& stdio) {
  HMVM_TRY_ASSIGN(SocketPair channel, MakeChildChannel());
  Launched launched;
  const auto run = [&] {
    RunChild(process, surroundings, {stdio[0].get(), stdio[1].get(), stdio[2].get()}, channel.second.get());
  };
  if (surroundings.init_pidfd < 0) {
    HMVM_TRY_ASSIGN(launched.pid, RunSharedChild(surroundings.cgroup, CLONE_NEWPID, launched.pidfd, run));
  } else {
    // Its memory is its own: processes of the container may see it before it executes its program.
    HMVM_TRY_ASSIGN(launched.pid, ForkBeside(surroundings.init_pidfd, surroundings.cgroup, launched.pidfd));
    if (launched.pid == 0) run();
  }
  HMVM_TRY(SetNonBlocking(channel.first.get(), true));
  launched.channel = std::move(channel.first);
  return launched;
}

}  // namespace hmvm::agent
