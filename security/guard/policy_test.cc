#include "security/guard/policy.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <cstring>
#include <span>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::HasSubstr;

std::span<const guard_row> RowsOf(const guard_policy& policy, guard_state state, int number) {
  const guard_call& call = policy.calls[state][number];
  return std::span(policy.rows).subspan(call.first_row, call.rows);
}

TEST(GuardPolicyTest, WhatNoRuleNamesIsForbidden) {
  const auto policy = CompileGuardPolicy({{}, {{SYS_read, {}, ""}}, {}});

  ASSERT_TRUE(policy.has_value()) << policy.error().Message();
  EXPECT_EQ((*policy)->calls[GUARD_SEALED][SYS_read].verdict, GUARD_ALLOWED);
  EXPECT_EQ((*policy)->calls[GUARD_SEALED][SYS_openat].verdict, GUARD_FORBIDDEN);
  EXPECT_EQ((*policy)->calls[GUARD_SETTING_UP][SYS_read].verdict, GUARD_FORBIDDEN);
}

TEST(GuardPolicyTest, RulesWithChecksBecomeRowsInTheirOrder) {
  const auto policy = CompileGuardPolicy({{},
                                          {{SYS_ioctl, {{1, 0xffffffff, 7}}, ""},
                                           {SYS_read, {}, ""},
                                           {SYS_ioctl, {{1, 0xffffffff, 9}, {2, ~uint64_t{0}, 3}}, ""}},
                                          {}});

  ASSERT_TRUE(policy.has_value());
  const auto rows = RowsOf(**policy, GUARD_SEALED, SYS_ioctl);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].checks, 1);
  EXPECT_EQ(rows[0].value[0], 7u);
  EXPECT_EQ(rows[1].checks, 2);
  EXPECT_EQ(rows[1].argument[1], 2);
  EXPECT_EQ(rows[1].mask[1], ~uint64_t{0});
}

TEST(GuardPolicyTest, ARuleWithoutChecksMakesTheOthersOfItsCallNeedless) {
  const auto policy =
      CompileGuardPolicy({{}, {{SYS_ioctl, {{1, 0xffffffff, 7}}, ""}, {SYS_ioctl, {}, ""}}, {}});

  ASSERT_TRUE(policy.has_value());
  EXPECT_EQ((*policy)->calls[GUARD_SEALED][SYS_ioctl].verdict, GUARD_ALLOWED);
}

TEST(GuardPolicyTest, TheSameRowOfTwoRolesIsOneRow) {
  const SyscallRule rule{SYS_ioctl, {{1, 0xffffffff, 7}}, ""};

  const auto policy = CompileGuardPolicy({{}, {rule, rule}, {}});

  ASSERT_TRUE(policy.has_value());
  EXPECT_EQ(RowsOf(**policy, GUARD_SEALED, SYS_ioctl).size(), 1u);
}

TEST(GuardPolicyTest, MoreRowsThanThereIsRoomForAreRefused) {
  GuardRules rules;
  for (uint32_t i = 0; i <= GUARD_CALL_ROWS; ++i)
    rules.sealed.push_back({SYS_ioctl, {{1, 0xffffffff, i}}, ""});

  const auto policy = CompileGuardPolicy(rules);

  ASSERT_FALSE(policy.has_value());
  EXPECT_EQ(policy.error().code, E2BIG);
}

TEST(GuardPolicyTest, WhatTheGuardCannotExpressIsRefused) {
  for (const SyscallRule& rule : {SyscallRule{GUARD_SYSCALLS, {}, ""}, SyscallRule{-1, {}, ""},
                                  SyscallRule{SYS_read, {{6, 1, 1}}, ""}}) {
    EXPECT_EQ(CompileGuardPolicy({{}, {rule}, {}}).error().code, EINVAL);
  }
  EXPECT_EQ(CompileGuardPolicy({{}, {}, {64}}).error().code, EINVAL);
}

TEST(GuardPolicyTest, UringOperationsAreBits) {
  const auto policy = CompileGuardPolicy({{}, {}, {1, 63}});

  ASSERT_TRUE(policy.has_value());
  EXPECT_EQ((*policy)->uring_calls, (uint64_t{1} << 63) | 2);
}

TEST(GuardPolicyTest, TheVmmsPolicyCompilesAndIsTheSameEachTime) {
  const auto once = CompileGuardPolicy(VmmRules());
  const auto again = CompileGuardPolicy(VmmRules());

  ASSERT_TRUE(once.has_value()) << once.error().Message();
  EXPECT_EQ(std::memcmp(once->get(), again->get(), sizeof(guard_policy)), 0);
  const auto ioctls = RowsOf(**once, GUARD_SEALED, SYS_ioctl);
  ASSERT_FALSE(ioctls.empty());
  EXPECT_EQ(ioctls[0].value[1], uint64_t{KVM_RUN}) << "the most frequent comes first";
  EXPECT_EQ((*once)->calls[GUARD_SEALED][SYS_execve].verdict, GUARD_FORBIDDEN);
  EXPECT_EQ((*once)->calls[GUARD_SETTING_UP][SYS_execve].verdict, GUARD_ALLOWED);
}

}  // namespace
}  // namespace hmvm
