// Guest time: the pvclock of Xen's ABI over the host's TSC, which CPL 3 reads unscaled on these hosts.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

// ns = ((ticks << shift) * multiplier) >> 32; a negative shift goes right.
struct TscScale {
  uint32_t multiplier;
  int8_t shift;

  static TscScale FromKhz(uint32_t khz);
  uint64_t ToNs(uint64_t ticks) const;
};

// System time of one machine: 0 at creation, then as fast as the TSC.
class Clock {
 public:
  // `tsc` is the TSC's value at time 0.
  Clock(uint32_t khz, uint64_t tsc) : scale_(TscScale::FromKhz(khz)), start_(tsc) {}

  static uint64_t ReadTsc();
  uint64_t NowNs() const { return scale_.ToNs(ReadTsc() - start_); }

  // Fills a pvclock area that the guest may be reading.
  void Publish(PvclockTime* area) const;
  // The wall clock at system time 0, into `info`.
  void PublishWallClock(SharedInfo* info) const;

 private:
  TscScale scale_;
  uint64_t start_;
};

}  // namespace hmvm::ring3
