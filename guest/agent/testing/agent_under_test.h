// An agent for container_scenarios.cc to drive. Two programs are made of those scenarios: one with the agent
// in namespaces of the host (host_agent.cc), one with the agent in a real guest (tests/guest_agent.cc).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/ttrpc/client.h"
#include "base/unique_fd.h"

namespace hmvm::agent::test {

class AgentUnderTest {
 public:
  // Brings an agent up whose image is `erofs`, a file. Where that can't be done here (no root, no KVM): EPERM
  // and the reason.
  static Result<std::unique_ptr<AgentUnderTest>> Start(const std::string& erofs);
  virtual ~AgentUnderTest() = default;

  virtual TtrpcClient& client() = 0;
  // What agent.proto asks the host to do for a stream, the id included.
  virtual Result<UniqueFd> ConnectStream(uint64_t id) = 0;
  // The image as the agent sees it.
  virtual std::string lower_device() const = 0;
  // Whether the memory controller is in the cgroup hierarchy (v2).
  virtual bool limits_memory() const = 0;
  // Open descriptors of the agent, where they can be counted.
  virtual std::optional<size_t> CountDescriptors() const { return std::nullopt; }
};

}  // namespace hmvm::agent::test
