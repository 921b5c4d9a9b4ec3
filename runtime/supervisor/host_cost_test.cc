#include "runtime/supervisor/host_cost.h"

#include <unistd.h>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(HostCostTest, OfThisProcess) {
  const auto cost = MeasureHostCost(::getpid());
  ASSERT_TRUE(cost.has_value()) << cost.error().Message();
  EXPECT_GT(cost->memory_bytes, 4096U);
  EXPECT_EQ(MeasureHostCost(0x3fffffff).error().code, ENOENT);
}

TEST(HostCostTest, WhatTheKernelWrites) {
  EXPECT_EQ(ParseCpuTicks("12 (a) b (c) S 7 12 12 0 -1 4194304 100 0 0 0 30 12 0 0 20").value(), 42U);
  EXPECT_EQ(ParsePssBytes("55-7f [rollup]\nRss:  9 kB\nPss:     3 kB\nPss_Dirty: 1 kB\n").value(), 3072U);
  for (const char* text : {"", ")", "1 (a) S 1", "1 (a) S 7 12 12 0 -1 4194304 100 0 0 0 30"}) {
    EXPECT_FALSE(ParseCpuTicks(text).has_value()) << text;
  }
  for (const char* text : {"", "Pss: 1", "\nPss:", "\nPss: x"}) {
    EXPECT_FALSE(ParsePssBytes(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace hmvm
