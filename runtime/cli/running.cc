#include "runtime/cli/running.h"

namespace hmvm {

Result<SupervisorClient> ConnectToRunning(const ContainerStore& store, const ContainerRecord& record) {
  const Error not_running{0, "container '" + record.name + "' is not running"};
  if (!record.live()) return not_running;
  auto client = SupervisorClient::Connect(store, record.id);
  // It has ended since we read its state.
  if (!client.has_value()) return not_running;
  return client;
}

}  // namespace hmvm
