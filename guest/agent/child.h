#pragma once

#include <array>

#include "guest/agent/launch.h"

namespace hmvm::agent {

// The child's side of Launch(): becomes the process that was asked for. Runs between fork, or clone3(2) with
// shared memory, and execve(2) of a single-threaded parent, so it may do what any program may, but leave
// nothing changed that the parent has.
[[noreturn]] void RunChild(const v1::Process& process, const Surroundings& surroundings,
                           const std::array<int, 3>& stdio, int channel);

}  // namespace hmvm::agent
