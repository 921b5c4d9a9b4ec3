#include <time.h>
#include <x86intrin.h>

#include "vmm/kvm/tsc_moment.h"

namespace hmvm {

TscMoment TscMoment::Now() {
  constexpr int kTries = 4;
  TscMoment best = {.took_ticks = UINT64_MAX};
  for (int i = 0; i < kTries; ++i) {
    timespec now;
    _mm_lfence();
    const uint64_t before = __rdtsc();
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    _mm_lfence();
    const uint64_t took = __rdtsc() - before;
    if (took >= best.took_ticks) continue;
    best = {.tsc = before + took / 2,
            .monotonic_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec,
            .took_ticks = took};
  }
  return best;
}

}  // namespace hmvm
