#pragma once

#include <functional>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "runtime/container/record.h"
#include "runtime/container/store.h"
#include "runtime/supervisor/agent_client.h"
#include "runtime/supervisor/health_monitor.h"

namespace hmvm {

// A container's health: has it probed, and keeps `record.health`, which is its own. Belongs to the loop's
// thread; loop, store and record outlive it.
class ContainerHealth {
 public:
  // Calls `use` on a thread of its own, for the process `id` beside the first one, as
  // ContainerRun::Beside() does, and tells it what the container is called in its guest.
  using Beside = std::function<Result<>(const std::string& id,
                                        std::function<void(AgentClient&, const std::string& guest_id)> use)>;

  ContainerHealth(EventLoop& loop, const ContainerStore& store, ContainerRecord& record, Beside beside);

  // It is another run: nothing is known yet.
  void Reset();
  // The container runs: for the first time, or again after a pause.
  void Begin() { monitor_.Begin(); }
  // It is being held, or has ended.
  void End() { monitor_.End(); }

 private:
  void Probe(HealthMonitor::Done done);
  void Add(ProbeResult result);

  EventLoop& loop_;
  const ContainerStore& store_;
  ContainerRecord& record_;
  const Beside beside_;
  HealthMonitor monitor_;
};

}  // namespace hmvm
