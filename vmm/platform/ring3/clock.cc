#include "vmm/platform/ring3/clock.h"

#include <time.h>
#include <x86intrin.h>

#include <atomic>

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

// The seqlock of pvclock: odd while the rest is in flux.
template <typename Write>
void WithVersion(uint32_t& version, Write write) {
  std::atomic_ref<uint32_t> shared(version);
  const uint32_t even = shared.load(std::memory_order_relaxed) & ~1U;
  shared.store(even + 1, std::memory_order_seq_cst);
  write();
  shared.store(even + 2, std::memory_order_seq_cst);
}

}  // namespace

TscScale TscScale::FromKhz(uint32_t khz) {
  // Shift the frequency into (1 GHz, 2 GHz], so that the multiplier, ns a shifted tick times 2^32, has all of
  // its 32 bits in use and does not overflow.
  uint64_t hz = uint64_t{khz == 0 ? 1 : khz} * 1000;
  int8_t shift = 0;
  while (hz > 2 * kNsPerSecond) {
    hz >>= 1;
    --shift;
  }
  while (hz <= kNsPerSecond) {
    hz <<= 1;
    ++shift;
  }
  return {static_cast<uint32_t>((static_cast<unsigned __int128>(kNsPerSecond) << 32) / hz), shift};
}

uint64_t TscScale::ToNs(uint64_t ticks) const {
  const uint64_t shifted = shift < 0 ? ticks >> -shift : ticks << shift;
  return static_cast<uint64_t>((static_cast<unsigned __int128>(shifted) * multiplier) >> 32);
}

uint64_t Clock::ReadTsc() { return __rdtsc(); }

void Clock::Publish(PvclockTime* area) const {
  WithVersion(area->version, [&] {
    area->tsc_timestamp = start_;
    area->system_time = 0;
    area->tsc_to_system_mul = scale_.multiplier;
    area->tsc_shift = scale_.shift;
    area->flags = kPvclockTscStable;  // one origin for all vCPUs, so the vdso may use it
  });
}

void Clock::PublishWallClock(SharedInfo* info) const {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t at_zero =
      static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec) - NowNs();
  WithVersion(info->wc_version, [&] {
    info->wc_sec = static_cast<uint32_t>(at_zero / kNsPerSecond);
    info->wc_sec_hi = static_cast<uint32_t>((at_zero / kNsPerSecond) >> 32);
    info->wc_nsec = static_cast<uint32_t>(at_zero % kNsPerSecond);
  });
}

}  // namespace hmvm::ring3
