#include "vmm/platform/ring3/clock.h"

#include <cmath>

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

}  // namespace
}  // namespace hmvm::ring3
