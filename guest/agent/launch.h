// Starts a process inside a container.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "guest/agent/namespaces.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// What stays the same for all processes of a container. References live as long as the call.
struct Surroundings {
  const Namespaces& namespaces;
  int cgroup;      // directory
  int init_pidfd;  // of the container's first process; -1: this is the one
  const std::string& hostname;
  bool open_system_paths;  // the first process leaves /proc and /sys as they are
};

struct Launched {
  pid_t pid = 0;  // in the agent's pid namespace
  UniqueFd pidfd;
  // Child messages (child_channel.h): the pty master, if the process has a terminal; an error, if it could
  // not be started; the end once the program runs. Non-blocking.
  UniqueFd channel;
};

// Makes a child; what happens in it until its program runs is told over the channel. `stdio` are the child's
// standard streams, unused with a terminal. ESRCH: the container's first process has ended.
Result<Launched> Launch(const v1::Process& process, const Surroundings& surroundings,
                        const std::array<UniqueFd, 3>& stdio);

}  // namespace hmvm::agent
