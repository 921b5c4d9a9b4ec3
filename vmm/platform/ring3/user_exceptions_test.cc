#include "vmm/platform/ring3/user_exceptions.h"

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

TEST(UserExceptionsTest, AnIntNamesItsGate) {
  const uint8_t code[] = {0xcd, 0x80};

  const auto exception = SoftwareInterrupt(code);

  ASSERT_TRUE(exception.has_value());
  EXPECT_EQ(exception->vector, 13u);
  EXPECT_EQ(exception->error, 0x402u);
}

TEST(UserExceptionsTest, BreakpointAndOverflowEndBeforeTheirException) {
  const uint8_t int3[] = {0xcc, 0x90};
  const uint8_t int4[] = {0xcd, 0x04};

  const auto breakpoint = SoftwareInterrupt(int3);
  const auto overflow = SoftwareInterrupt(int4);

  ASSERT_TRUE(breakpoint.has_value() && overflow.has_value());
  EXPECT_EQ(breakpoint->vector, 3u);
  EXPECT_EQ(breakpoint->advance, 1u);
  EXPECT_EQ(overflow->vector, 4u);
  EXPECT_EQ(overflow->advance, 2u);
}

TEST(UserExceptionsTest, OtherInstructionsAreNoInt) {
  const uint8_t ud2[] = {0x0f, 0x0b};
  const uint8_t half[] = {0xcd};

  EXPECT_FALSE(SoftwareInterrupt(ud2).has_value());
  EXPECT_FALSE(SoftwareInterrupt(half).has_value());
  EXPECT_FALSE(SoftwareInterrupt({}).has_value());
}

}  // namespace
}  // namespace hmvm::ring3
