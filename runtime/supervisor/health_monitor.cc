#include "runtime/supervisor/health_monitor.h"

namespace hmvm {

void HealthMonitor::Begin() {
  if (check_.command.empty()) return;
  ++spell_;
  // Without a timer there are no more probes: the status stays what it was.
  (void)timer_.Set(check_.interval, [this] { Probe(); });
}

void HealthMonitor::End() {
  ++spell_;
  timer_.Clear();
}

void HealthMonitor::Probe() {
  actions_.probe([this, spell = spell_](std::optional<ProbeResult> result) {
    if (spell != spell_) return;
    if (result.has_value()) actions_.on_result(std::move(*result));
    (void)timer_.Set(check_.interval, [this] { Probe(); });
  });
}

}  // namespace hmvm
