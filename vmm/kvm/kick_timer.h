// A one-shot timer that makes a vCPU's thread leave KVM_RUN, or a wait with signals let in.
#pragma once

#include <time.h>

#include <chrono>
#include <optional>

#include "base/result.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

// Belongs to the vCPU's thread, which must be the one that calls Start(). The vCPU outlives it.
class KickTimer {
 public:
  KickTimer() = default;
  KickTimer(const KickTimer&) = delete;
  KickTimer& operator=(const KickTimer&) = delete;
  ~KickTimer();

  // Once. With CLOCK_THREAD_CPUTIME_ID it counts the time that the thread has a processor for.
  Result<> Start(const Vcpu& vcpu, clockid_t clock = CLOCK_MONOTONIC);
  bool started() const { return timer_.has_value(); }

  // Kicks in `in`; replaces what was armed before. Zero disarms. Nothing before Start().
  void Arm(std::chrono::nanoseconds in) const;
  bool armed() const;

 private:
  std::optional<timer_t> timer_;
};

}  // namespace hmvm
