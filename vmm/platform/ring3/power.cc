#include "vmm/platform/ring3/power.h"

#include <cerrno>
#include <utility>

namespace hmvm::ring3 {

int64_t Power::Initialise(const StartState& state) {
  std::lock_guard lock(mutex_);
  if (state_.initialised) return -EEXIST;
  state_.initialised = true;
  state_.start = state;
  return 0;
}

int64_t Power::Up() {
  std::lock_guard lock(mutex_);
  if (!state_.initialised) return -EINVAL;
  state_.up = true;
  return 0;
}

void Power::Down() {
  std::lock_guard lock(mutex_);
  state_.up = false;
}

bool Power::up() const {
  std::lock_guard lock(mutex_);
  return state_.up;
}

std::optional<StartState> Power::TakeStart() {
  std::lock_guard lock(mutex_);
  return std::exchange(state_.start, std::nullopt);
}

Power::State Power::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void Power::Restore(State state) {
  std::lock_guard lock(mutex_);
  state_ = std::move(state);
}

}  // namespace hmvm::ring3
