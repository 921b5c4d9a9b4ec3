#include "guest/agent/process_list.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

constexpr char kRest[] =
    " S 7 12 12 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 100 1000000 250 18446744073709551615 1 1\n";

TEST(ProcessStatTest, FieldsAreFoundBehindAnyName) {
  for (const std::string name : {"sh", "a b", "x) S 1 (y", ""}) {
    const auto stat = ParseProcessStat("12 (" + name + ")" + kRest);
    ASSERT_TRUE(stat.has_value()) << name;
    EXPECT_EQ(stat->name, name);
    EXPECT_EQ(stat->parent, 7);
    EXPECT_EQ(stat->cpu_ticks, 42U);
    EXPECT_EQ(stat->resident_pages, 250U);
  }
}

TEST(ProcessStatTest, WhatIsNoneIsAnError) {
  for (const char* text : {"", "12", "12 (sh", "12 )sh(", "12 (sh) S 7", "12 (sh)"}) {
    EXPECT_FALSE(ParseProcessStat(text).has_value()) << text;
  }
}

TEST(ProcessListTest, ShowsThisProcessAndLeavesOutTheGone) {
  const auto list = ListProcesses({::getpid(), 0x3fffffff});
  ASSERT_EQ(list.processes_size(), 1);
  EXPECT_GT(list.processes(0).resident_bytes(), 0U);
  EXPECT_EQ(list.processes(0).uid(), ::getuid());
  EXPECT_EQ(list.processes(0).parent_pid(), 0U) << "its parent is not among those listed";
  EXPECT_THAT(list.processes(0).command(), testing::HasSubstr("agent_test"));
}

}  // namespace
}  // namespace hmvm::agent
