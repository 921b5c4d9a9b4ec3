#pragma once

#include "base/result.h"
#include "guest/api/agent.pb.h"
#include "runtime/container/record.h"
#include "runtime/container/store.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/stdio_pumps.h"

namespace hmvm {

struct SupervisorInput {
  ContainerStore store;
  ContainerRecord record;  // Created, and in the store
  MachineFiles files;
  agent::v1::WindowSize window;  // of the client's terminal
  UniqueFd client;               // connected socket of the `hmvm run` that waits; served supervisor.proto
  ClientStreams client_streams;
};

// Owns one container's life from Created to its end, in the calling process, which is nothing else and
// single- threaded until here. Returns when all is over: state written or container removed, machine gone,
// answers given. `on_owned` is called once the state file names this process.
void Supervise(SupervisorInput input, const std::function<void()>& on_owned);

// What the first process of a container, or a further one, is to the agent.
agent::v1::Process MakeAgentProcess(const ContainerConfig& config, const agent::v1::WindowSize& window);

}  // namespace hmvm
