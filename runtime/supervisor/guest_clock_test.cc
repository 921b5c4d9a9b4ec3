#include "runtime/supervisor/guest_clock.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "base/clock.h"

namespace hmvm {
namespace {

// A guest whose clock is `ahead_ns` ahead of the host's, and whose first `slow` answers take a while.
struct FakeGuest {
  int64_t ahead_ns = 0;
  int slow = 0;
  int steps = 0;

  AdjustGuestClock Agent() {
    return [this](int64_t step_ns) -> Result<agent::v1::AdjustClockResponse> {
      ahead_ns += step_ns;
      if (step_ns != 0) ++steps;
      agent::v1::AdjustClockResponse response;
      response.set_realtime_ns(NowUnixNs() + ahead_ns);
      if (slow-- > 0) {
        const timespec while_it_boots = {.tv_sec = 0, .tv_nsec = 50'000'000};
        ::nanosleep(&while_it_boots, nullptr);
      }
      return response;
    };
  }
};

TEST(GuestClockTest, AClockThatIsOffIsSetByTheShortestRoundTrip) {
  for (const int64_t off : {-42'000'000LL, 42'000'000LL, 3'600'000'000'000LL}) {
    FakeGuest guest{.ahead_ns = off, .slow = 1};

    ASSERT_TRUE(SetGuestClock(guest.Agent()).has_value());

    EXPECT_EQ(guest.steps, 1);
    EXPECT_LT(std::abs(guest.ahead_ns), 25'000'000);  // what the first, slow one would leave
  }
}

TEST(GuestClockTest, AClockThatIsRightIsLeftAlone) {
  FakeGuest guest;

  ASSERT_TRUE(SetGuestClock(guest.Agent()).has_value());

  EXPECT_EQ(guest.steps, 0);
}

TEST(GuestClockTest, AGuestThatIsGoneIsAnError) {
  const auto set = SetGuestClock([](int64_t) -> Result<agent::v1::AdjustClockResponse> {
    return Error{ECONNRESET, "gone"};
  });

  ASSERT_FALSE(set.has_value());
  EXPECT_EQ(set.error().code, ECONNRESET);
}

}  // namespace
}  // namespace hmvm
