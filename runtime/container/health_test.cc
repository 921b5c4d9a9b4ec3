#include "runtime/container/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ProbeResult Exit(int exit_code) { return {.exit_code = exit_code, .output = ""}; }

TEST(HealthCheckTest, TheImagesIsTakenWithDockersDefaults) {
  const auto check =
      MergeHealthCheck({.test = {"CMD", "curl", "-f", "localhost"}, .interval_ns = 5'000'000'000}, {});
  ASSERT_TRUE(check.has_value());
  EXPECT_THAT(check->command, ElementsAre("curl", "-f", "localhost"));
  EXPECT_EQ(check->interval, seconds(5));
  EXPECT_EQ(check->timeout, seconds(30));
  EXPECT_EQ(check->start_period, seconds(0));
  EXPECT_EQ(check->retries, 3U);
  EXPECT_THAT(MergeHealthCheck({.test = {"CMD-SHELL", "exit 1"}}, {})->command,
              ElementsAre("/bin/sh", "-c", "exit 1"));
  EXPECT_THAT(MergeHealthCheck({.test = {"NONE"}}, {})->command, IsEmpty());
  EXPECT_THAT(MergeHealthCheck({}, {})->command, IsEmpty());
}

TEST(HealthCheckTest, WishesStandOverTheImage) {
  const ImageHealthCheck image = {.test = {"CMD", "a"}, .timeout_ns = 1, .retries = 7};
  const auto check =
      MergeHealthCheck(image, {.command = "test -e /up", .interval = seconds(2), .retries = 1});
  ASSERT_TRUE(check.has_value());
  EXPECT_THAT(check->command, ElementsAre("/bin/sh", "-c", "test -e /up"));
  EXPECT_EQ(check->interval, seconds(2));
  EXPECT_EQ(check->timeout.count(), 1);
  EXPECT_EQ(check->retries, 1U);
  EXPECT_THAT(MergeHealthCheck(image, {.none = true})->command, IsEmpty());
  EXPECT_FALSE(MergeHealthCheck(image, {.none = true, .command = "x"}).has_value());
  EXPECT_THAT(MergeHealthCheck({.test = {"HTTP", "x"}}, {}).error().what, HasSubstr("'HTTP'"));
  EXPECT_FALSE(MergeHealthCheck({.test = {"CMD"}}, {}).has_value());
}

TEST(HealthRecordTest, OnlyFailuresInARowMakeUnhealthyAndOneSuccessHealthy) {
  const HealthCheck check = {.command = {"x"}, .retries = 2};
  HealthRecord health = {.status = Health::kStarting};
  EXPECT_FALSE(health.Add(check, Exit(1), false));
  EXPECT_TRUE(health.Add(check, Exit(0), false));
  EXPECT_EQ(health.status, Health::kHealthy);
  EXPECT_FALSE(health.Add(check, Exit(1), false));
  EXPECT_TRUE(health.Add(check, Exit(-1), false));
  EXPECT_EQ(health.status, Health::kUnhealthy);
  EXPECT_EQ(health.failures, 2U);
  EXPECT_TRUE(health.Add(check, Exit(0), false));
  EXPECT_EQ(health.failures, 0U);
}

TEST(HealthRecordTest, InTheStartPeriodFailuresDoNotCountUntilASuccess) {
  const HealthCheck check = {.command = {"x"}, .retries = 1};
  HealthRecord health = {.status = Health::kStarting};
  EXPECT_FALSE(health.Add(check, Exit(1), true));
  EXPECT_EQ(health.failures, 0U);
  EXPECT_TRUE(health.Add(check, Exit(0), true));
  EXPECT_TRUE(health.Add(check, Exit(1), true));
  EXPECT_EQ(health.status, Health::kUnhealthy);
}

TEST(HealthRecordTest, KeepsTheNewestResults) {
  HealthRecord health = {.status = Health::kStarting};
  for (int code = 0; code < 9; ++code) health.Add({.command = {"x"}, .retries = 100}, Exit(code), false);
  ASSERT_EQ(health.last.size(), HealthRecord::kKept);
  EXPECT_EQ(health.last.front().exit_code, 4);
  EXPECT_EQ(health.last.back().exit_code, 8);
}

TEST(HealthNameTest, NamesRoundTrip) {
  for (const Health health : {Health::kNone, Health::kStarting, Health::kHealthy, Health::kUnhealthy}) {
    EXPECT_EQ(HealthFromName(HealthName(health)), health);
  }
  EXPECT_FALSE(HealthFromName("well").has_value());
}

}  // namespace
}  // namespace hmvm
