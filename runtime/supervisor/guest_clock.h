// Brings the guest's wall clock to the host's. The guest's own is off at boot (Linux counts no time before it
// has its clock source, some 40 ms), and when the host's is set; else it follows the host's by itself, at the
// same rate.
#pragma once

#include <cstdint>
#include <functional>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "guest/api/agent.pb.h"

namespace hmvm {

// The agent's AdjustClock.
using AdjustGuestClock = std::function<Result<agent::v1::AdjustClockResponse>(int64_t step_ns)>;

// How far the host's CLOCK_REALTIME is ahead of the guest's: the guest read its clock at some time between
// request and answer.
struct ClockDifference {
  int64_t ahead_ns = 0;
  int64_t uncertainty_ns = 0;
};
// Of several round trips the shortest; one is enough if it is short.
Result<ClockDifference> MeasureGuestClock(const AdjustGuestClock& adjust);

// Measures and steps the guest's clock if the difference is more than the uncertainty.
Result<> SetGuestClock(const AdjustGuestClock& adjust);

// Calls `on_step`, on the loop's thread, whenever the host's CLOCK_REALTIME has been set.
class WallClockWatch {
 public:
  static Result<WallClockWatch> Create(EventLoop& loop, std::function<void()> on_step);

 private:
  UniqueFd timer_;
  Watch watch_;
};

}  // namespace hmvm
