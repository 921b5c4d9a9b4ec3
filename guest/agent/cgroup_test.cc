#include "guest/agent/cgroup.h"

#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

TEST(KeyedValueTest, KeyIsMatchedWhole) {
  const std::string events = "low 0\nhigh 1\noom 2\noom_kill 3\noom_group_kill 4\n";

  EXPECT_EQ(KeyedValue(events, "oom_kill"), 3u);
  EXPECT_EQ(KeyedValue(events, "oom"), 2u);
  EXPECT_EQ(KeyedValue(events, "low"), 0u);
}

TEST(KeyedValueTest, AbsentKeyIsZero) { EXPECT_EQ(KeyedValue("", "oom_kill"), 0u); }

}  // namespace
}  // namespace hmvm::agent
