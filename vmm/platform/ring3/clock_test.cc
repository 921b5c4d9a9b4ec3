#include "vmm/platform/ring3/clock.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

// The relative error of a scale over an hour of ticks.
double ErrorOverAnHour(uint32_t khz) {
  constexpr double kHourNs = 3600e9;
  const uint64_t ticks = uint64_t{khz} * 1000 * 3600;
  return std::abs(static_cast<double>(TscScale::FromKhz(khz).ToNs(ticks)) - kHourNs) / kHourNs;
}

class TscScaleTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(TscScaleTest, IsExactToTheMultiplier) { EXPECT_LT(ErrorOverAnHour(GetParam()), 1e-8); }

INSTANTIATE_TEST_SUITE_P(Frequencies, TscScaleTest,
                         ::testing::Values(1'000, 800'000, 1'000'000, 1'000'001, 2'000'000, 2'000'001,
                                           2'594'112, 3'999'999, 5'700'000));

TEST(TscScaleTest, NoFrequencyDividesByZero) { EXPECT_NE(TscScale::FromKhz(0).multiplier, 0U); }

TEST(ClockTest, PublishedAreaTellsTheClocksOwnTime) {
  constexpr uint32_t kKhz = 2'500'000;
  const Clock clock(kKhz, 1'000'000);
  PvclockTime area = {};

  clock.Publish(&area);

  EXPECT_EQ(area.version % 2, 0U);
  EXPECT_EQ(area.tsc_timestamp, 1'000'000U);
  EXPECT_EQ(area.system_time, 0U);
  const TscScale published = {area.tsc_to_system_mul, area.tsc_shift};
  EXPECT_EQ(published.ToNs(5'000'000), TscScale::FromKhz(kKhz).ToNs(5'000'000));
}

TEST(ClockTest, EachPublicationHasANewVersion) {
  const Clock clock(1'000'000, 0);
  PvclockTime area = {};
  clock.Publish(&area);
  const uint32_t first = area.version;

  clock.Publish(&area);

  EXPECT_EQ(area.version, first + 2);
}

// A host whose CLOCK_MONOTONIC gains 100 ppm on the TSC's nominal rate of 1 GHz, from a TSC that is the real
// one.
class FollowedClockTest : public testing::Test {
 protected:
  static constexpr uint32_t kKhz = 1'000'000;
  static constexpr double kGain = 1.0001;
  static constexpr uint64_t kStep = 2'000'000'000;  // ticks

  // The host's clock says that at a TSC of `tsc`.
  static TscMoment At(uint64_t tsc) {
    return {
        .tsc = tsc, .monotonic_ns = static_cast<int64_t>(static_cast<double>(tsc) * kGain), .took_ticks = 10};
  }
  // What the guest computes from its area at `tsc`.
  static int64_t GuestNs(const PvclockTime& area, uint64_t tsc) {
    const TscScale scale = {area.tsc_to_system_mul, area.tsc_shift};
    return static_cast<int64_t>(area.system_time + scale.ToNs(tsc - area.tsc_timestamp));
  }
};

TEST_F(FollowedClockTest, TakesTheRateOfTheHostsClock) {
  const uint64_t start = Clock::ReadTsc();
  Clock clock(kKhz, start);
  PvclockTime area = {};
  clock.Publish(&area);
  clock.Follow(At(start - 2 * kStep));
  clock.Follow(At(start - kStep));

  clock.Follow(At(start));

  const uint64_t now = Clock::ReadTsc();
  const double rate = static_cast<double>(GuestNs(area, now + kStep) - GuestNs(area, now)) / kStep;
  EXPECT_NEAR(rate, kGain, 600e-6);  // and what it is slewed by
  EXPECT_EQ(area.version % 2, 0U);
}

TEST_F(FollowedClockTest, NeverGoesBackAndIsTheSameInAllAreas) {
  const uint64_t start = Clock::ReadTsc();
  Clock clock(kKhz, start);
  PvclockTime areas[3] = {};
  for (PvclockTime& area : areas) clock.Publish(&area);
  clock.Follow(At(start));
  int64_t last = 0;
  for (int i = 1; i <= 5; ++i) {
    // A host's clock that is far behind the guest's: it waits for it, it does not go back.
    TscMoment behind = At(start + static_cast<uint64_t>(i) * 1000);
    behind.monotonic_ns -= i * 500;
    const int64_t before = GuestNs(areas[0], Clock::ReadTsc());

    clock.Follow(behind);

    const uint64_t now = Clock::ReadTsc();
    EXPECT_GE(GuestNs(areas[0], now), before);
    EXPECT_GE(GuestNs(areas[0], now), last);
    last = GuestNs(areas[0], now);
    EXPECT_EQ(GuestNs(areas[1], now), last);
    EXPECT_EQ(GuestNs(areas[2], now), last);
  }
}

TEST_F(FollowedClockTest, JumpsForwardOverWhatItMissed) {
  const uint64_t start = Clock::ReadTsc();
  Clock clock(kKhz, start);
  clock.Follow(At(start));
  TscMoment later = At(start + 1000);
  later.monotonic_ns += 60'000'000'000;

  clock.Follow(later);

  EXPECT_GE(clock.NowNs(), 60'000'000'000U);
}

TEST_F(FollowedClockTest, TellsTheGuestOfAPauseUntilTheGuestHasHeard) {
  const uint64_t start = Clock::ReadTsc();
  Clock clock(kKhz, start);
  PvclockTime area = {};
  clock.Publish(&area);
  clock.Follow(At(start));

  clock.Follow(At(start + 1000), /*after_pause=*/true);
  EXPECT_EQ(area.flags, kPvclockTscStable | kPvclockGuestStopped);
  clock.Follow(At(start + 2000));
  EXPECT_EQ(area.flags, kPvclockTscStable | kPvclockGuestStopped);
  area.flags = kPvclockTscStable;
  clock.Follow(At(start + 3000));

  EXPECT_EQ(area.flags, kPvclockTscStable);
}

TEST(ClockTest, GoesOnWhereItWas) {
  Clock clock(1'000'000, Clock::ReadTsc());
  clock.GoOnFrom(5'000'000'000);

  EXPECT_GE(clock.NowNs(), 5'000'000'000U);
}

TEST(ClockTest, AGuestThatNamesAreaAfterAreaCostsNoMemory) {
  std::vector<PvclockTime> areas(1000);
  Clock clock(1'000'000, Clock::ReadTsc());
  for (PvclockTime& area : areas) clock.Publish(&area);
  const uint32_t oldest = areas.front().version;

  clock.Follow(TscMoment::Now());

  EXPECT_EQ(areas.front().version, oldest);
  EXPECT_NE(areas.back().version, oldest);
}

}  // namespace
}  // namespace hmvm::ring3
