// Guest time: the pvclock of Xen's ABI over the host's TSC, which CPL 3 reads unscaled on these hosts.
//
// System time runs from 0 at the machine's start, over pauses too, as the host's CLOCK_MONOTONIC does. By the
// TSC alone it would drift apart from it: by what KVM's rate of the TSC is off, and by what the host's NTP
// does to its clock. So it follows: every few seconds it gets a new rate that brings it back to the host's
// clock.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/tsc_moment.h"
#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

// ns = ((ticks << shift) * multiplier) >> 32; a negative shift goes right.
struct TscScale {
  uint32_t multiplier;
  int8_t shift;

  static TscScale FromKhz(uint32_t khz) { return FromHz(khz * 1e3); }
  static TscScale FromHz(double hz);
  uint64_t ToNs(uint64_t ticks) const;
};

// System time of one machine. Thread-safe.
class Clock {
 public:
  // At the TSC's value `tsc` it is 0, and `khz` is its rate until it has followed the host's clock twice.
  Clock(uint32_t khz, uint64_t tsc) : line_{tsc, 0, TscScale::FromKhz(khz)} {}

  static uint64_t ReadTsc();
  uint64_t NowNs() const;

  // How often Follow() is to be called: the host's clock may be slewed by 500 ppm, 1 ms in this time.
  static constexpr int64_t kFollowNs = 2'000'000'000;
  // Compares with the host's clock at `now` and takes a new rate; the guest's clocks never go back. The first
  // call says which moments of the two clocks belong together. `after_pause`: the guest is told that it did
  // not run, so that its watchdogs don't take the time for a hang.
  void Follow(const TscMoment& now, bool after_pause = false);

  // From now on it is `ns`: for a machine that goes on where another ended. Before areas are published.
  void GoOnFrom(uint64_t ns);

  // Fills a pvclock area that the guest may be reading, and keeps it up to date from then on. `after_pause`:
  // as for Follow().
  void Publish(PvclockTime* area, bool after_pause = false) const;
  // The areas that are kept up to date now, the oldest first.
  std::vector<const PvclockTime*> Areas() const;
  // The wall clock at system time 0, into `info`.
  void PublishWallClock(SharedInfo* info) const;

 private:
  // System time by the TSC, from `tsc` on.
  struct Line {
    uint64_t tsc;
    uint64_t ns;
    TscScale scale;

    uint64_t At(uint64_t at_tsc) const { return at_tsc <= tsc ? ns : ns + scale.ToNs(at_tsc - tsc); }
  };

  void Write(PvclockTime* area, bool after_pause) const;

  mutable std::mutex mutex_;  // guards all below
  Line line_;
  std::optional<TscMoment> followed_;  // when last
  int64_t host_minus_guest_ns_ = 0;
  mutable std::deque<PvclockTime*> areas_;
};

}  // namespace hmvm::ring3
