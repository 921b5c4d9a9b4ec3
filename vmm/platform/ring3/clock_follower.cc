#include "vmm/platform/ring3/clock_follower.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "security/fd_class.h"

namespace hmvm::ring3 {
namespace {

// A moment whose two clocks are not known to belong together that closely is none: the next one will do.
constexpr uint64_t kMostTicks = 50'000;

}  // namespace

Result<std::unique_ptr<ClockFollower>> ClockFollower::Create(EventLoop& loop, Clock* clock) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) return Error{errno, "timerfd of the guest's clock"};
  HMVM_TRY_ASSIGN(timer, Place(fd_class::kEvents, std::move(timer)));
  constexpr timespec kInterval = {.tv_sec = Clock::kFollowNs / 1'000'000'000, .tv_nsec = 0};
  const itimerspec when = {.it_interval = kInterval, .it_value = kInterval};
  if (::timerfd_settime(timer.get(), 0, &when, nullptr) < 0) return Error{errno, "timerfd_settime"};

  std::unique_ptr<ClockFollower> follower(new ClockFollower(std::move(timer)));
  clock->Follow(TscMoment::Now());
  HMVM_TRY_ASSIGN(follower->watch_,
                  loop.OnReadable(follower->timer_.get(), [clock, raw = follower.get()]() -> Result<> {
                    uint64_t expirations;
                    static_cast<void>(::read(raw->timer_.get(), &expirations, sizeof(expirations)));
                    const TscMoment now = TscMoment::Now();
                    if (now.took_ticks <= kMostTicks) clock->Follow(now);
                    return {};
                  }));
  return follower;
}

}  // namespace hmvm::ring3
