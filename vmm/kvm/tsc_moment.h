#pragma once

#include <cstdint>

namespace hmvm {

// A moment by two clocks: the TSC, and the host's CLOCK_MONOTONIC at the middle of reading it.
struct TscMoment {
  uint64_t tsc = 0;
  int64_t monotonic_ns = 0;
  uint64_t took_ticks = 0;  // between the TSC before and after: the two differ by half of it at most

  // Of a few tries the one least disturbed.
  static TscMoment Now();
};

}  // namespace hmvm
