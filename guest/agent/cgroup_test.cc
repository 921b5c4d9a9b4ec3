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

TEST(NestedSumTest, AddsUpAllLines) {
  const std::string io = "254:0 rbytes=100 wbytes=5 rios=7\n254:16 rbytes=20 wbytes=1 rios=0\n";
  EXPECT_EQ(NestedSum(io, "rbytes"), 120U);
  EXPECT_EQ(NestedSum(io, "wbytes"), 6U);
  EXPECT_EQ(NestedSum(io, "bytes"), 0U);
  EXPECT_EQ(NestedSum("", "rbytes"), 0U);
}

}  // namespace
}  // namespace hmvm::agent
