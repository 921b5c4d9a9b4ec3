#include "runtime/supervisor/timer.h"

#include <sys/timerfd.h>

#include <algorithm>

namespace hmvm {

Result<> Timer::Set(std::chrono::nanoseconds after, std::function<void()> on_time) {
  Clear();
  UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!fd.valid()) return Error{errno, "make a timer"};
  const int64_t ns = std::max<int64_t>(after.count(), 1);  // 0 would never come
  itimerspec when = {};
  when.it_value.tv_sec = ns / 1'000'000'000;
  when.it_value.tv_nsec = ns % 1'000'000'000;
  if (::timerfd_settime(fd.get(), 0, &when, nullptr) < 0) return Error{errno, "set a timer"};
  HMVM_TRY_ASSIGN(watch_, loop_.OnReadable(fd.get(), [this]() -> Result<> {
    const std::function<void()> due = std::move(on_time_);
    Clear();
    due();  // may set it again
    return {};
  }));
  fd_ = std::move(fd);
  on_time_ = std::move(on_time);
  return {};
}

void Timer::Clear() {
  watch_ = Watch();
  fd_.reset();
}

}  // namespace hmvm
