#include "runtime/container/duration.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using namespace std::chrono_literals;

TEST(DurationTest, IsTakenAsDockerTakesIt) {
  EXPECT_EQ(ParseDuration("30s").value(), 30s);
  EXPECT_EQ(ParseDuration("1h30m").value(), 90min);
  EXPECT_EQ(ParseDuration("1.5s").value(), 1500ms);
  EXPECT_EQ(ParseDuration("500ms20us1ns").value(), 500ms + 20us + 1ns);
  EXPECT_EQ(ParseDuration("0").value(), 0s);
}

TEST(DurationTest, WhatIsNoneIsRefused) {
  for (const char* text :
       {"", "s", "5", "-5s", "5 s", "5d", "1e3s", "99999999999999h", "nan", "inf", "5s5", "infs"}) {
    EXPECT_FALSE(ParseDuration(text).has_value()) << text;
  }
}

TEST(MomentTest, HasThreeForms) {
  constexpr int64_t kNow = 1'000'000'000'000;
  EXPECT_EQ(ParseMoment("10m", kNow).value(), kNow - 600'000'000'000);
  EXPECT_EQ(ParseMoment("1.5", kNow).value(), 1'500'000'000);
  EXPECT_EQ(ParseMoment("1970-01-01T00:01:00Z", kNow).value(), 60'000'000'000);
  EXPECT_EQ(ParseMoment("1970-01-01T01:01:00.25+01:00", kNow).value(), 60'250'000'000);
  EXPECT_EQ(ParseMoment("1969-12-31T23:01:00-01:00", kNow).value(), 60'000'000'000);
}

TEST(MomentTest, WhatIsNoneIsRefused) {
  for (const char* text : {"", "yesterday", "-1", "1970-01-01", "1970-01-01T00:00:00",
                           "1970-01-01T00:00:00+1", "1970-01-01T00:00:00Zx", "1e99"}) {
    EXPECT_FALSE(ParseMoment(text, 0).has_value()) << text;
  }
}

}  // namespace
}  // namespace hmvm
