#include "vmm/platform/ring3/timer.h"

#include <algorithm>
#include <chrono>

namespace hmvm::ring3 {

using std::chrono::nanoseconds;

Result<> VcpuTimer::Start(const Vcpu& vcpu) {
  HMVM_TRY(timer_.Start(vcpu));
  if (deadline_ns_.has_value()) Set(*deadline_ns_);
  return {};
}

void VcpuTimer::Set(uint64_t deadline_ns) {
  deadline_ns_ = deadline_ns;
  const uint64_t now = clock_->NowNs();
  constexpr uint64_t kNever = uint64_t{1} << 62;  // the guest names any number
  timer_.Arm(nanoseconds(deadline_ns > now ? std::min(deadline_ns - now, kNever) : 1));
}

void VcpuTimer::Cancel() {
  deadline_ns_.reset();
  timer_.Arm(nanoseconds(0));
}

bool VcpuTimer::TakeExpired() {
  if (!deadline_ns_.has_value()) return false;
  const uint64_t now = clock_->NowNs();
  if (now < *deadline_ns_) {
    // The guest counts TSC ticks, the host's timer its own clock: on a difference wait for the rest.
    if (timer_.started() && !timer_.armed()) timer_.Arm(nanoseconds(*deadline_ns_ - now));
    return false;
  }
  Cancel();
  return true;
}

}  // namespace hmvm::ring3
