#include "runtime/supervisor/supervisor.h"

#include <memory>
#include <utility>

#include "base/event_loop.h"
#include "base/ttrpc/server.h"
#include "runtime/supervisor/service.h"

namespace hmvm {
namespace {

Result<> Run(SupervisorInput input, const std::function<void()>& on_owned) {
  HMVM_TRY_ASSIGN(const auto loop, EventLoop::Create());
  TtrpcServer server(*loop);
  ContainerLife life(*loop, std::move(input.container));
  SupervisorService service(*loop, server, life);
  // Our client may not have asked yet; it hangs up when it has what it wants.
  const auto stop_if_done = [&] {
    if (life.over() && !service.has_client()) loop->Stop();
  };
  life.OnFinish([&] { service.StopListening(); });
  life.OnOver(stop_if_done);
  if (input.client.valid()) HMVM_TRY(service.ServeClient(std::move(input.client), stop_if_done));
  if (auto listens = service.Listen(); listens.has_value()) {
    life.Start(on_owned);
  } else {
    life.Fail(listens.error());
  }
  return loop->Run();
}

}  // namespace

void Supervise(SupervisorInput input, const std::function<void()>& on_owned) {
  // Fails only without descriptors or memory for the loop itself. The client sees the connection end, and the
  // state file names a process that is gone.
  (void)Run(std::move(input), on_owned);
}

}  // namespace hmvm
