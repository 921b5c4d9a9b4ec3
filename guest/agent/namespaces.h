#pragma once

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// A container's namespaces, held open: they live without a process in them. The pid namespace is not among
// them; it is made with the container's first process and dies with it.
struct Namespaces {
  UniqueFd mount;
  UniqueFd ipc;
  UniqueFd uts;
  UniqueFd cgroup;

  // Makes new ones: `cgroup` (a directory's descriptor) becomes the root of the cgroup namespace, and
  // `prepare` runs inside, in a process of its own that shares the agent's memory and descriptors, before
  // they are returned. Blocks until it has.
  static Result<Namespaces> Create(int cgroup, const std::function<Result<>()>& prepare);

  // Moves the calling process into them.
  Result<> Enter() const;
};

// clone3(2) like fork(2), with the child in `cgroup` and new namespaces by `flags` (CLONE_NEW*). Returns 0 in
// the child. `pidfd` receives the child's, close-on-exec.
Result<int> ForkInto(int cgroup, unsigned long flags, UniqueFd& pidfd);

}  // namespace hmvm::agent
