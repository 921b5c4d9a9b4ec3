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

  struct State {
    bool initialised = false;
    bool up = false;
    std::optional<StartState> start;  // until the vCPU's thread has taken it
  };
  State state() const;
  // Before the vCPU's thread runs.
  void Restore(State state);

 private:
  mutable std::mutex mutex_;
  State state_;
};

}  // namespace hmvm::ring3
