#pragma once

#include <functional>
#include <optional>

#include "runtime/container/health.h"
#include "runtime/supervisor/timer.h"

namespace hmvm {

// When a container's health is probed: an interval after it began to run and after the end of each probe, not
// while it is held. Belongs to the loop's thread.
class HealthMonitor {
 public:
  // Nothing: there was none to be had, as the container was ending.
  using Done = std::function<void(std::optional<ProbeResult>)>;
  struct Actions {
    std::function<void(Done done)> probe;  // begins one; `done` on the loop, once
    std::function<void(ProbeResult)> on_result;
  };

  HealthMonitor(EventLoop& loop, const HealthCheck& check, Actions actions)
      : timer_(loop), check_(check), actions_(std::move(actions)) {}

  // The container runs: for the first time, or again after a pause.
  void Begin();
  // It is being held, or has ended. A result that comes later says nothing: the probe was held, too.
  void End();

 private:
  void Probe();

  Timer timer_;
  const HealthCheck check_;
  const Actions actions_;
  uint64_t spell_ = 0;  // counts Begin() and End(): a result belongs to the spell that its probe began in
};

}  // namespace hmvm
