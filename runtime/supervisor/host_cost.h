#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace hmvm {

// What a process costs the host.
struct HostCost {
  uint64_t cpu_ns = 0;        // user and system, of all its threads
  uint64_t memory_bytes = 0;  // its own pages, and its part of those it shares (Pss)
};
// ENOENT: it is gone.
Result<HostCost> MeasureHostCost(pid_t pid);

// Of /proc/PID/stat and /proc/PID/smaps_rollup.
Result<uint64_t> ParseCpuTicks(std::string_view stat);
Result<uint64_t> ParsePssBytes(std::string_view smaps_rollup);

}  // namespace hmvm
