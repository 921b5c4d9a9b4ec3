#include "vmm/platform/ring3/runstate.h"

#include <algorithm>

namespace hmvm::ring3 {

void Runstate::Enter(RunstateKind state, uint64_t now_ns, uint64_t processor_ns) {
  std::lock_guard lock(mutex_);
  // Neither clock goes back; the differences of two clocks are made to agree all the same.
  const uint64_t passed = now_ns - std::min(now_ns, info_.entry_time_ns);
  if (info_.state == kRunning) {
    const uint64_t ran = std::min(passed, processor_ns - std::min(processor_ns, processor_ns_));
    info_.time_ns[kRunning] += ran;
    info_.time_ns[kRunnable] += passed - ran;
  } else {
    info_.time_ns[info_.state] += passed;
  }
  info_.state = state;
  info_.entry_time_ns = std::max(now_ns, info_.entry_time_ns);
  processor_ns_ = processor_ns;
}

RunstateInfo Runstate::info() const {
  std::lock_guard lock(mutex_);
  return info_;
}

void Runstate::Restore(const RunstateInfo& info) {
  std::lock_guard lock(mutex_);
  info_ = info;
}

RunstateInfo Runstate::At(uint64_t now_ns) const {
  std::lock_guard lock(mutex_);
  RunstateInfo info = info_;
  info.time_ns[info.state] += now_ns - std::min(now_ns, info.entry_time_ns);
  return info;
}

}  // namespace hmvm::ring3
