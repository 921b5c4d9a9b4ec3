#include "base/size.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(SizeTest, SuffixesAreBinaryInEitherCase) {
  EXPECT_EQ(ParseSize("42"), 42U);
  EXPECT_EQ(ParseSize("42b"), 42U);
  EXPECT_EQ(ParseSize("2k"), 2048U);
  EXPECT_EQ(ParseSize("256m"), uint64_t{256} << 20);
  EXPECT_EQ(ParseSize("256M"), uint64_t{256} << 20);
  EXPECT_EQ(ParseSize("3G"), uint64_t{3} << 30);
  EXPECT_EQ(ParseSize("3gb"), uint64_t{3} << 30);
  EXPECT_EQ(ParseSize("4KB"), 4096U);
}

TEST(SizeTest, WhatIsNotASizeIsRefusedWithTheFormsThatAre) {
  for (const char* text :
       {"", "m", "-1", "+1", "1.5g", "1mm", "1x", " 1", "1 ", "0x10", "1bb", "mb", "1gbb"}) {
    const auto size = ParseSize(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_NE(size.error().what.find("suffix b, k, m or g"), std::string::npos) << text;
  }
}

TEST(SizeTest, OverflowIsRefused) {
  EXPECT_FALSE(ParseSize("18446744073709551616").has_value());
  EXPECT_FALSE(ParseSize("17179869184g").has_value());
  EXPECT_EQ(ParseSize("17179869183g"), uint64_t{17179869183} << 30);
}

TEST(SizeTest, FormattedForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(uint64_t{256} << 20), "256 MiB");
  EXPECT_EQ(FormatSize(uint64_t{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace hmvm
