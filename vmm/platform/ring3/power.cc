#include "vmm/platform/ring3/power.h"

#include <cerrno>
#include <utility>

namespace hmvm::ring3 {

int64_t Power::Initialise(const StartState& state) {
  std::lock_guard lock(mutex_);
  if (initialised_) return -EEXIST;
  initialised_ = true;
  start_ = state;
  return 0;
}

int64_t Power::Up() {
  std::lock_guard lock(mutex_);
  if (!initialised_) return -EINVAL;
  up_ = true;
  return 0;
}

void Power::Down() {
  std::lock_guard lock(mutex_);
  up_ = false;
}

bool Power::up() const {
  std::lock_guard lock(mutex_);
  return up_;
}

std::optional<StartState> Power::TakeStart() {
  std::lock_guard lock(mutex_);
  return std::exchange(start_, std::nullopt);
}

}  // namespace hmvm::ring3
