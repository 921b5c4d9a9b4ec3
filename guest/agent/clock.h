#pragma once

#include <cstdint>

#include "base/result.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// Adds `step_ns` to CLOCK_REALTIME, unless it is 0, and reads the clocks.
Result<v1::AdjustClockResponse> AdjustClock(int64_t step_ns);

}  // namespace hmvm::agent
