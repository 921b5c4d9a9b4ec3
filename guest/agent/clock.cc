#include "guest/agent/clock.h"

#include <sys/timex.h>
#include <time.h>

namespace hmvm::agent {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

int64_t Now(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kNsPerSecond + now.tv_nsec;
}

}  // namespace

Result<v1::AdjustClockResponse> AdjustClock(int64_t step_ns) {
  if (step_ns != 0) {
    // By the kernel, so that no time passes between a look at the clock and setting it. Its fraction of a
    // second is never negative.
    timex change = {};
    change.modes = ADJ_SETOFFSET | ADJ_NANO;
    change.time.tv_sec = step_ns / kNsPerSecond;
    change.time.tv_usec = step_ns % kNsPerSecond;
    if (change.time.tv_usec < 0) {
      change.time.tv_usec += kNsPerSecond;
      --change.time.tv_sec;
    }
    if (::adjtimex(&change) < 0) return Error{errno, "adjtimex"};
  }
  v1::AdjustClockResponse response;
  response.set_realtime_ns(Now(CLOCK_REALTIME));
  response.set_monotonic_ns(Now(CLOCK_MONOTONIC));
  return response;
}

}  // namespace hmvm::agent
