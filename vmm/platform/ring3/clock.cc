#include "vmm/platform/ring3/clock.h"

#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

// At most three for each vCPU: in shared_info, where the kernel moved it to, the vdso's. A guest that names
// more loses its oldest.
constexpr size_t kMostAreas = 3 * kLegacyVcpus;

// The guest's clock is made faster or slower by this at most to bring it back to the host's, and what it is
// further behind it jumps.
constexpr double kMostSlew = 500e-6;
constexpr int64_t kMostSlewedNs = 1'000'000;

// The seqlock of pvclock: odd while the rest is in flux.
void BeginWrite(uint32_t& version) {
  std::atomic_ref<uint32_t> shared(version);
  shared.store((shared.load(std::memory_order_relaxed) & ~1U) + 1, std::memory_order_seq_cst);
}
void EndWrite(uint32_t& version) {
  std::atomic_ref<uint32_t> shared(version);
  shared.store((shared.load(std::memory_order_relaxed) | 1U) + 1, std::memory_order_seq_cst);
}

}  // namespace

TscScale TscScale::FromHz(double hz) {
  // Shift the frequency into (1 GHz, 2 GHz], so that the multiplier, ns a shifted tick times 2^32, has all of
  // its 32 bits in use and does not overflow.
  hz = std::max(hz, 1e3);
  int8_t shift = 0;
  while (hz > 2.0 * kNsPerSecond) {
    hz /= 2;
    --shift;
  }
  while (hz <= kNsPerSecond) {
    hz *= 2;
    ++shift;
  }
  return {static_cast<uint32_t>(static_cast<double>(kNsPerSecond << 32) / hz), shift};
}

uint64_t TscScale::ToNs(uint64_t ticks) const {
  const uint64_t shifted = shift < 0 ? ticks >> -shift : ticks << shift;
  return static_cast<uint64_t>((static_cast<unsigned __int128>(shifted) * multiplier) >> 32);
}

uint64_t Clock::ReadTsc() {
  _mm_lfence();
  return __rdtsc();
}

uint64_t Clock::NowNs() const {
  std::lock_guard lock(mutex_);
  return line_.At(ReadTsc());
}

void Clock::Follow(const TscMoment& now, bool after_pause) {
  std::lock_guard lock(mutex_);
  const auto guest_ns = static_cast<int64_t>(line_.At(now.tsc));
  double hz = 0;
  int64_t behind_ns = 0;
  if (!followed_.has_value()) {
    host_minus_guest_ns_ = now.monotonic_ns - guest_ns;
  } else if (now.tsc > followed_->tsc && now.monotonic_ns > followed_->monotonic_ns) {
    behind_ns = now.monotonic_ns - host_minus_guest_ns_ - guest_ns;
    hz = static_cast<double>(now.tsc - followed_->tsc) * kNsPerSecond /
         static_cast<double>(now.monotonic_ns - followed_->monotonic_ns);
  }
  followed_ = now;

  // All areas are closed before the new line is made and opened after it is written: whatever a vCPU has read
  // is before the line's start, on any vCPU.
  for (PvclockTime* area : areas_) BeginWrite(area->version);
  if (hz > 0) {
    const uint64_t tsc = ReadTsc();
    line_ = {tsc, line_.At(tsc), line_.scale};
    if (behind_ns > kMostSlewedNs) {
      line_.ns += static_cast<uint64_t>(behind_ns);
      behind_ns = 0;
    }
    const double slew = std::clamp(static_cast<double>(behind_ns) / kFollowNs, -kMostSlew, kMostSlew);
    line_.scale = TscScale::FromHz(hz / (1 + slew));
  }
  for (PvclockTime* area : areas_) {
    Write(area, after_pause);
    EndWrite(area->version);
  }
}

void Clock::GoOnFrom(uint64_t ns) {
  std::lock_guard lock(mutex_);
  const uint64_t tsc = ReadTsc();
  host_minus_guest_ns_ -= static_cast<int64_t>(ns - line_.At(tsc));
  line_ = {tsc, ns, line_.scale};
}

void Clock::Publish(PvclockTime* area, bool after_pause) const {
  std::lock_guard lock(mutex_);
  if (std::ranges::find(areas_, area) == areas_.end()) {
    if (areas_.size() == kMostAreas) areas_.pop_front();
    areas_.push_back(area);
  }
  BeginWrite(area->version);
  Write(area, after_pause);
  EndWrite(area->version);
}

std::vector<const PvclockTime*> Clock::Areas() const {
  std::lock_guard lock(mutex_);
  return {areas_.begin(), areas_.end()};
}

void Clock::Write(PvclockTime* area, bool after_pause) const {
  area->tsc_timestamp = line_.tsc;
  area->system_time = line_.ns;
  area->tsc_to_system_mul = line_.scale.multiplier;
  area->tsc_shift = line_.scale.shift;
  // One line for all vCPUs, so the vdso may use it. That it was stopped the guest takes note of itself.
  const auto stopped =
      static_cast<uint8_t>(after_pause ? kPvclockGuestStopped : area->flags & kPvclockGuestStopped);
  area->flags = kPvclockTscStable | stopped;
}

void Clock::PublishWallClock(SharedInfo* info) const {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t at_zero =
      static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec) - NowNs();
  BeginWrite(info->wc_version);
  info->wc_sec = static_cast<uint32_t>(at_zero / kNsPerSecond);
  info->wc_sec_hi = static_cast<uint32_t>((at_zero / kNsPerSecond) >> 32);
  info->wc_nsec = static_cast<uint32_t>(at_zero % kNsPerSecond);
  EndWrite(info->wc_version);
}

}  // namespace hmvm::ring3
