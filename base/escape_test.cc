#include "base/escape.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(EscapeTest, ControlBytesAndBackslashAreShownAsHex) {
  EXPECT_EQ(Escape("a\n\x1b[31m\\b"), "a\\x0a\\x1b[31m\\x5cb");
  EXPECT_EQ(Escape(std::string_view("\0\xff", 2)), "\\x00\\xff");
}

TEST(OneLineTest, ControlBytesAreReplacedAndOtherLanguagesStay) {
  EXPECT_EQ(OneLine("a\n\x1b[31m\x7f\xc3\xa4"), "a??[31m?\xc3\xa4");
}

TEST(EscapeTest, LongInputIsCut) { EXPECT_EQ(Escape("abcdef", 3), "abc..."); }

}  // namespace
}  // namespace hmvm
