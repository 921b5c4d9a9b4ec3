// How a vCPU spends its time, as the guest sees it: running, runnable but without a processor (stolen),
// blocked, offline.
#pragma once

#include <cstdint>
#include <mutex>

#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

// Thread-safe; Enter() belongs to the vCPU's thread. Times in ns of guest system time.
class Runstate {
 public:
  // Since `now_ns` the vCPU is in `state`. Of the time before, spent in the last state, no more than
  // `processor_ns`, the processor time of its thread until now, was running: the rest was stolen.
  void Enter(RunstateKind state, uint64_t now_ns, uint64_t processor_ns);

  // With the time since the last Enter() counted for the state of then.
  RunstateInfo At(uint64_t now_ns) const;

  // As of the last Enter().
  RunstateInfo info() const;
  // Goes on from `info`, on a thread that has not run yet. info.state is one of RunstateKind.
  void Restore(const RunstateInfo& info);

 private:
  mutable std::mutex mutex_;
  RunstateInfo info_ = {.state = kOffline, .padding = 0, .entry_time_ns = 0, .time_ns = {}};
  uint64_t processor_ns_ = 0;  // at entry_time_ns
};

}  // namespace hmvm::ring3
