#include "runtime/supervisor/guest_clock.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "base/clock.h"

namespace hmvm {
namespace {

constexpr int kMostRoundTrips = 8;
constexpr int64_t kSureEnoughNs = 250'000;

}  // namespace

Result<ClockDifference> MeasureGuestClock(const AdjustGuestClock& adjust) {
  std::optional<ClockDifference> best;
  for (int i = 0; i < kMostRoundTrips; ++i) {
    const int64_t before = NowUnixNs();
    HMVM_TRY_ASSIGN(const agent::v1::AdjustClockResponse guest, adjust(0));
    const int64_t round_trip = NowUnixNs() - before;
    if (best.has_value() && round_trip / 2 >= best->uncertainty_ns) continue;
    best = {.ahead_ns = before + round_trip / 2 - guest.realtime_ns(), .uncertainty_ns = round_trip / 2};
    if (best->uncertainty_ns <= kSureEnoughNs) break;
  }
  return *best;
}

Result<> SetGuestClock(const AdjustGuestClock& adjust) {
  HMVM_TRY_ASSIGN(const ClockDifference difference, MeasureGuestClock(adjust));
  if (std::abs(difference.ahead_ns) > difference.uncertainty_ns) HMVM_TRY(adjust(difference.ahead_ns));
  return {};
}

Result<WallClockWatch> WallClockWatch::Create(EventLoop& loop, std::function<void()> on_step) {
  WallClockWatch watch;
  watch.timer_ = UniqueFd(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!watch.timer_.valid()) return Error{errno, "timerfd of the wall clock"};
  // A timer that never expires, only to be cancelled by a step (timerfd_create(2)).
  const itimerspec never = {.it_interval = {}, .it_value = {.tv_sec = int64_t{1} << 40, .tv_nsec = 0}};
  if (::timerfd_settime(watch.timer_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) <
      0) {
    return Error{errno, "timerfd_settime of the wall clock"};
  }
  HMVM_TRY_ASSIGN(
      watch.watch_,
      loop.OnReadable(watch.timer_.get(),
                      [fd = watch.timer_.get(), on_step = std::move(on_step)]() -> Result<> {
                        uint64_t expirations;
                        static_cast<void>(
                            ::read(fd, &expirations, sizeof(expirations)));  // ECANCELED, which arms it again
                        on_step();
                        return {};
                      }));
  return watch;
}

}  // namespace hmvm
