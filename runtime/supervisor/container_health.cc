#include "runtime/supervisor/container_health.h"

#include <utility>

#include "base/clock.h"
#include "runtime/supervisor/container_run.h"
#include "runtime/supervisor/health_probe.h"
#include "runtime/supervisor/streams.h"

namespace hmvm {

ContainerHealth::ContainerHealth(EventLoop& loop, const ContainerStore& store, ContainerRecord& record,
                                 Beside beside)
    : loop_(loop),
      store_(store),
      record_(record),
      beside_(std::move(beside)),
      monitor_(loop, record.config.health_check,
               HealthMonitor::Actions{.probe = [this](HealthMonitor::Done done) { Probe(std::move(done)); },
                                      .on_result = [this](ProbeResult result) { Add(std::move(result)); }}) {}

void ContainerHealth::Reset() {
  record_.health = {};
  if (!record_.config.health_check.command.empty()) record_.health.status = Health::kStarting;
}

void ContainerHealth::Probe(HealthMonitor::Done done) {
  ContainerConfig config = record_.config;
  config.args = config.health_check.command;
  config.terminal = false;
  HealthProbe probe = {.container_id = {},
                       .process_id = "health-" + std::to_string(NewStreamId()),
                       .process = MakeAgentProcess(config, {}),
                       .run_folder = store_.RunFolder(record_.id),
                       .timeout = config.health_check.timeout};
  const std::string id = probe.process_id;
  auto begun = beside_(
      id, [this, probe = std::move(probe), done](AgentClient& agent, const std::string& guest_id) mutable {
        probe.container_id = guest_id;
        loop_.Post([done, result = RunHealthProbe(agent, probe)] { done(result); });
      });
  if (!begun.has_value()) done(std::nullopt);
}

void ContainerHealth::Add(ProbeResult result) {
  const HealthCheck& check = record_.config.health_check;
  const std::chrono::nanoseconds ran(NowUnixNs() - record_.started_unix_ns);
  const bool changed = record_.health.Add(check, std::move(result), ran < check.start_period);
  // What can't be written now is with the next result.
  (void)store_.Save(record_);
  if (changed)
    (void)store_.Tell(record_, "health_status", {{"health", std::string(HealthName(record_.health.status))}});
}

}  // namespace hmvm
