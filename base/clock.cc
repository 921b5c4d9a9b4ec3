#include "base/clock.h"

#include <time.h>

namespace hmvm {
namespace {

int64_t NowNs(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int64_t NowUnixNs() { return NowNs(CLOCK_REALTIME); }
uint64_t NowMonotonicNs() { return static_cast<uint64_t>(NowNs(CLOCK_MONOTONIC)); }

}  // namespace hmvm
