#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// What /proc says of some processes of a container, in the order of their pids there. Of the agent's own pid
// namespace: `pids`; what comes back has the container's numbers. Those that have ended meanwhile are left
// out. At most kMaxListed of them.
inline constexpr size_t kMaxListed = 4096;
v1::ListProcessesResponse ListProcesses(const std::vector<pid_t>& pids, const std::string& proc = "/proc");

// /proc/PID/stat as far as it is needed here. Any bytes may stand in the name of a program.
struct ProcessStat {
  std::string name;
  pid_t parent = 0;
  uint64_t cpu_ticks = 0;  // user and system
  uint64_t resident_pages = 0;
};
Result<ProcessStat> ParseProcessStat(std::string_view text);

}  // namespace hmvm::agent
