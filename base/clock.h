// The host's clocks as numbers.
#pragma once

#include <cstdint>

namespace hmvm {

// CLOCK_REALTIME, in ns since 1970.
int64_t NowUnixNs();
// CLOCK_MONOTONIC, in ns: the same for all processes of a boot.
uint64_t NowMonotonicNs();

}  // namespace hmvm
