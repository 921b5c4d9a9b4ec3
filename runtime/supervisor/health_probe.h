#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "runtime/container/health.h"
#include "runtime/supervisor/agent_client.h"

namespace hmvm {

struct HealthProbe {
  std::string container_id;
  std::string process_id;
  agent::v1::Process process;
  std::string run_folder;  // for its output
  std::chrono::nanoseconds timeout;
};

// Runs one probe in the guest and waits for it. Blocks, on a guest that is held for as long as it is.
// Nothing: the guest is gone.
std::optional<ProbeResult> RunHealthProbe(AgentClient& agent, const HealthProbe& probe);

}  // namespace hmvm
