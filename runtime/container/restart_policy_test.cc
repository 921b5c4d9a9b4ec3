#include "runtime/container/restart_policy.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RestartPolicyTest, IsReadAndWrittenAsTyped) {
  for (const char* text : {"no", "on-failure", "on-failure:3", "always", "unless-stopped"}) {
    const auto policy = ParseRestartPolicy(text);
    ASSERT_TRUE(policy.has_value()) << text;
    EXPECT_EQ(FormatRestartPolicy(*policy), text);
  }
  for (const char* text : {"", "yes", "on-failure:", "on-failure:x", "on-failure:-1", "on-failure:3 ",
                           "always:3", "on-failure:99999999999"}) {
    const auto policy = ParseRestartPolicy(text);
    ASSERT_FALSE(policy.has_value()) << text;
    EXPECT_NE(policy.error().what.find("unless-stopped"), std::string::npos);
  }
}

TEST(RestartPolicyTest, DecidesByExitCodeAndCount) {
  EXPECT_FALSE(ParseRestartPolicy("no")->Restarts(1, 0));
  EXPECT_FALSE(ParseRestartPolicy("on-failure")->Restarts(0, 0));
  EXPECT_TRUE(ParseRestartPolicy("on-failure")->Restarts(1, 1'000'000));
  EXPECT_TRUE(ParseRestartPolicy("on-failure:2")->Restarts(137, 1));
  EXPECT_FALSE(ParseRestartPolicy("on-failure:2")->Restarts(137, 2));
  EXPECT_TRUE(ParseRestartPolicy("always")->Restarts(0, 5));
  EXPECT_TRUE(ParseRestartPolicy("unless-stopped")->Restarts(0, 5));
}

TEST(RestartBackoffTest, DoublesUpToAMinute) {
  RestartBackoff backoff;
  milliseconds expected(100);
  for (int restart = 0; restart < 20; ++restart) {
    EXPECT_EQ(backoff.Next(seconds(9)), expected) << restart;
    expected = std::min(expected * 2, milliseconds(60'000));
  }
}

TEST(RestartBackoffTest, AGoodRunIsForgiven) {
  RestartBackoff backoff;
  for (int restart = 0; restart < 5; ++restart) (void)backoff.Next(seconds(0));
  EXPECT_EQ(backoff.Next(seconds(10)), milliseconds(100));
  EXPECT_EQ(backoff.Next(seconds(1)), milliseconds(200));
}

}  // namespace
}  // namespace hmvm
