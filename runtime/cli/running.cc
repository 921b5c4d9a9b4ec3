#include "runtime/cli/running.h"

#include <chrono>
#include <thread>

namespace hmvm {

Result<std::optional<SupervisorClient>> ConnectToLive(const ContainerStore& store,
                                                      const ContainerRecord& record) {
  // Between claim and supervisor, as between the last answer and the last state, lie some milliseconds.
  constexpr std::chrono::milliseconds kBetweenTries{5};
  constexpr std::chrono::seconds kLimit{10};
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  for (;;) {
    auto client = SupervisorClient::Connect(store, record.id);
    if (client.has_value()) return std::optional(std::move(*client));
    const auto now = store.Load(record.id);
    if (!now.has_value() && now.error().code != ENOENT) return now.error();
    if (!now.has_value() || !now->live()) return std::optional<SupervisorClient>();
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error{0, "container '" + record.name + "': its supervisor (pid " +
                          std::to_string(now->owner.pid) + ") does not answer: " + client.error().Message()};
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
}

Result<SupervisorClient> ConnectToRunning(const ContainerStore& store, const ContainerRecord& record) {
  std::optional<SupervisorClient> client;
  if (record.live()) {
    HMVM_TRY_ASSIGN(client, ConnectToLive(store, record));
  }
  if (!client.has_value()) return Error{0, "container '" + record.name + "' is not running"};
  return std::move(*client);
}

}  // namespace hmvm
