#pragma once

#include <optional>

#include "base/result.h"
#include "guest/api/agent.pb.h"
#include "runtime/container/record.h"
#include "runtime/container/store.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/stdio_pumps.h"

namespace hmvm {

struct SupervisorInput {
  ContainerStore store;
  ContainerRecord record;  // in the store: Created, or Starting when it was claimed
  MachineFiles files;
  std::optional<SnapshotContainer> resumed;  // what the snapshot in `files` is of, for the first run
  agent::v1::WindowSize window;              // of the client's terminal
  UniqueFd client;               // connected socket of the command that waits; served supervisor.proto
  ClientStreams client_streams;  // to the first run only: a client does not stay for a restart
};

// Owns one container's life from its start to its end, restarts included, in the calling process, which is
// nothing else and single-threaded until here. Returns when all is over: state written or container removed,
// machine gone, answers given. `on_owned` is called once the state file names this process.
void Supervise(SupervisorInput input, const std::function<void()>& on_owned);

}  // namespace hmvm
