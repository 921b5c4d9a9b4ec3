// Whether a vCPU runs: the guest gives it a state to start from, then switches it on and off.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "vmm/platform/ring3/start_state.h"

namespace hmvm::ring3 {

// Thread-safe. The numbers are for the guest: 0 or a negative errno.
class Power {
 public:
  // -EEXIST when it has been initialised before.
  int64_t Initialise(const StartState& state);
  // -EINVAL when it has nothing to start from. The caller wakes its thread.
  int64_t Up();
  void Down();
  bool up() const;
  // The state to start from: once, to the vCPU's own thread when it is up.
  std::optional<StartState> TakeStart();

 private:
  mutable std::mutex mutex_;
  bool initialised_ = false;
  bool up_ = false;
  std::optional<StartState> start_;  // until the vCPU's thread has taken it
};

}  // namespace hmvm::ring3
