#pragma once

#include <memory>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/platform/ring3/clock.h"

namespace hmvm::ring3 {

// Has a clock follow the host's, from the loop's thread. Clock and loop outlive it.
class ClockFollower {
 public:
  static Result<std::unique_ptr<ClockFollower>> Create(EventLoop& loop, Clock* clock);

 private:
  explicit ClockFollower(UniqueFd timer) : timer_(std::move(timer)) {}

  UniqueFd timer_;
  Watch watch_;
};

}  // namespace hmvm::ring3
