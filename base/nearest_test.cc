#include "base/nearest.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

constexpr std::string_view kKnown[] = {"capabilities", "seccomp", "devices"};

TEST(NearestTest, ATypingErrorFindsTheWord) {
  EXPECT_EQ(DidYouMean("capabilites", kKnown), "; did you mean 'capabilities'?");
  EXPECT_EQ(DidYouMean("secomp", kKnown), "; did you mean 'seccomp'?");
}

TEST(NearestTest, ABeginningFindsTheWord) {
  EXPECT_EQ(DidYouMean("capabs", kKnown), "; did you mean 'capabilities'?");
}

TEST(NearestTest, WhatIsFarFromAllOrTooLongHasNoGuess) {
  EXPECT_EQ(DidYouMean("xyz", kKnown), "");
  EXPECT_EQ(DidYouMean("", kKnown), "");
  EXPECT_EQ(DidYouMean(std::string(1000, 'd'), kKnown), "");
}

}  // namespace
}  // namespace hmvm
