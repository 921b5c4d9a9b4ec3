// A child that uses the agent's own memory while the agent waits, as vfork(2)'s does. Nothing is copied: a
// page table of a guest on the ring3 platform is built by hypercalls, and a first write to a copied page
// costs two faults.
#pragma once

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// clone3(2): runs `run` in a child in `cgroup` (a directory's descriptor) with what `flags` say more,
// CLONE_NEW* and CLONE_FILES. Returns the child's pid once it executes a program or has ended. `run` may do
// what the agent may, but what it changes is changed for the agent, but for descriptors without CLONE_FILES;
// where it executes a program, what its objects hold stays allocated. So it is for what happens once for a
// container, and where no other process of the container could look into the child.
Result<int> RunSharedChild(int cgroup, unsigned long flags, UniqueFd& pidfd,
                           const std::function<void()>& run);

}  // namespace hmvm::agent
