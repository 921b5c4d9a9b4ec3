#include "vmm/kvm/kick_flag.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(KickFlagTest, IsWhatKvmReads) {
  kvm_run run = {};
  const KickFlag flag(run);

  flag.Raise();

  EXPECT_EQ(run.immediate_exit, 1);
  EXPECT_TRUE(flag.raised());
  EXPECT_TRUE(flag.Take());
  EXPECT_EQ(run.immediate_exit, 0);
  EXPECT_FALSE(flag.Take());
}

// As between a vCPU and one that kicks it because of `reason`, with what else there is in kvm_run in use.
TEST(KickFlagTest, WhoTakesItSeesWhyItWasRaised) {
  constexpr int kKicks = 100;
  kvm_run run = {};
  const KickFlag flag(run);
  int reason = 0;
  std::atomic<int> seen = 0;
  std::jthread kicker([&] {
    for (int kick = 1; kick <= kKicks; ++kick) {
      reason = kick;
      flag.Raise();
      while (seen != kick) std::this_thread::yield();
    }
  });

  for (int kick = 1; kick <= kKicks; ++kick) {
    while (!flag.Take()) {
      run.request_interrupt_window ^= 1;
      std::this_thread::yield();
    }
    EXPECT_EQ(reason, kick);
    seen = kick;
  }
}

// KVM_RUN may have returned for another signal: the flag is lowered while it is raised. A mere store in
// Take() loses one in a hundred here.
TEST(KickFlagTest, NoKickIsLostToOneWhoLowersTheFlagMeanwhile) {
  constexpr int kKicks = 1000;
  kvm_run run = {};
  const KickFlag flag(run);
  std::atomic<int> wanted = 0;
  std::atomic<int> seen = 0;
  std::jthread kicker([&](const std::stop_token& stop) {
    for (int kick = 1; kick <= kKicks; ++kick) {
      wanted.store(kick, std::memory_order_release);
      flag.Raise();
      while (seen != kick && !stop.stop_requested()) continue;
    }
  });

  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (int kick = 1; kick <= kKicks; ++kick) {
    for (flag.Take(); wanted.load(std::memory_order_acquire) != kick; flag.Take()) {
      while (!flag.raised()) ASSERT_LT(std::chrono::steady_clock::now(), deadline) << kick;
    }
    seen = kick;
  }
}

}  // namespace
}  // namespace hmvm
