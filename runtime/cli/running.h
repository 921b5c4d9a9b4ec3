#pragma once

#include <optional>

#include "base/result.h"
#include "runtime/container/store.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {

// The supervisor of a container that was live when the caller looked; nothing when it has ended since. Who
// has just claimed it does not listen yet: a command that came then would find nobody, and miss what begins.
Result<std::optional<SupervisorClient>> ConnectToLive(const ContainerStore& store,
                                                      const ContainerRecord& record);

// The supervisor of a container that runs; an error that names the container if it does not, or not any more.
Result<SupervisorClient> ConnectToRunning(const ContainerStore& store, const ContainerRecord& record);

}  // namespace hmvm
