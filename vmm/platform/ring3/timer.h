// The one-shot timer of a vCPU: at the deadline it makes the vCPU's thread leave KVM_RUN or its wait.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "vmm/kvm/kick_timer.h"
#include "vmm/platform/ring3/clock.h"

namespace hmvm::ring3 {

// Belongs to the vCPU's thread, which must be the one that calls Start().
class VcpuTimer {
 public:
  explicit VcpuTimer(const Clock* clock) : clock_(clock) {}

  // Once. Deadlines set before count from then on.
  Result<> Start(const Vcpu& vcpu);
  bool started() const { return timer_.started(); }

  void Set(uint64_t deadline_ns);  // guest system time
  void Cancel();
  std::optional<uint64_t> deadline_ns() const { return deadline_ns_; }
  // true once for each deadline that has passed.
  bool TakeExpired();

 private:
  const Clock* clock_;
  KickTimer timer_;
  std::optional<uint64_t> deadline_ns_;
};

}  // namespace hmvm::ring3
