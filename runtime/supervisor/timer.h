#pragma once

#include <chrono>
#include <functional>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Calls back once, on the loop's thread, after a while of CLOCK_MONOTONIC. Belongs to that thread.
class Timer {
 public:
  explicit Timer(EventLoop& loop) : loop_(loop) {}

  // Replaces what it was set to. EMFILE and the like: there is no timer to be had, and none is set.
  Result<> Set(std::chrono::nanoseconds after, std::function<void()> on_time);
  void Clear();
  bool set() const { return fd_.valid(); }

 private:
  EventLoop& loop_;
  std::function<void()> on_time_;
  UniqueFd fd_;
  Watch watch_;
};

}  // namespace hmvm
