// The process that owns one container: its event loop, the container's life, and who may ask what of it.
#pragma once

#include <functional>

#include "base/unique_fd.h"
#include "runtime/supervisor/container_life.h"

namespace hmvm {

struct SupervisorInput {
  ContainerToRun container;
  UniqueFd client;  // connected socket of the command that waits; served supervisor.proto
};

// Owns one container's life from its start to its end, restarts included, in the calling process, which is
// nothing else and single-threaded until here. Returns when all is over: state written or container removed,
// machine gone, answers given. `on_owned` is called once the state file names this process.
void Supervise(SupervisorInput input, const std::function<void()>& on_owned);

}  // namespace hmvm
