#include "vmm/platform/ring3/runstate.h"

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

TEST(RunstateTest, TimeWithoutAProcessorIsStolen) {
  Runstate runstate;
  runstate.Enter(kRunning, 1'000, 50);

  runstate.Enter(kRunning, 1'800, 550);

  const RunstateInfo info = runstate.At(1'800);
  EXPECT_EQ(info.time_ns[kOffline], 1'000U);
  EXPECT_EQ(info.time_ns[kRunning], 500U);
  EXPECT_EQ(info.time_ns[kRunnable], 300U);
}

TEST(RunstateTest, BlockedTimeIsNotStolen) {
  Runstate runstate;
  runstate.Enter(kRunning, 0, 0);
  runstate.Enter(kBlocked, 100, 100);

  runstate.Enter(kRunning, 900, 110);

  const RunstateInfo info = runstate.At(900);
  EXPECT_EQ(info.time_ns[kBlocked], 800U);
  EXPECT_EQ(info.time_ns[kRunnable], 0U);
  EXPECT_EQ(info.state, kRunning);
}

TEST(RunstateTest, TimesAddUpToSystemTime) {
  Runstate runstate;
  runstate.Enter(kRunning, 10, 3);
  runstate.Enter(kBlocked, 5, 2'000);  // clocks that disagree
  runstate.Enter(kRunning, 400, 1);

  const RunstateInfo info = runstate.At(1'000);

  EXPECT_EQ(
      info.time_ns[kRunning] + info.time_ns[kRunnable] + info.time_ns[kBlocked] + info.time_ns[kOffline],
      1'000U);
}

}  // namespace
}  // namespace hmvm::ring3
