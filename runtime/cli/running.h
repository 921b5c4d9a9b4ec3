#pragma once

#include "base/result.h"
#include "runtime/container/store.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {

// The supervisor of a container that runs; an error that names the container if it does not, or not any more.
Result<SupervisorClient> ConnectToRunning(const ContainerStore& store, const ContainerRecord& record);

}  // namespace hmvm
