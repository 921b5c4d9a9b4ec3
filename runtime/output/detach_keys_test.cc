#include "runtime/output/detach_keys.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

// Feeds the pieces one after another; '!' stands for the detachment.
std::string Fed(std::initializer_list<std::string_view> pieces) {
  DetachKeys keys;
  std::string out;
  for (const std::string_view piece : pieces) {
    const auto outcome = keys.Feed(piece);
    out += outcome.bytes;
    if (outcome.detached) return out + "!";
  }
  return out;
}

TEST(DetachKeysTest, FoundAtOnceAndInPieces) {
  EXPECT_EQ(Fed({"\x10\x11"}), "!");
  EXPECT_EQ(Fed({"\x10", "\x11"}), "!");
  EXPECT_EQ(Fed({"xy\x10\x11 dropped"}), "xy!");
  EXPECT_EQ(Fed({"\x10\x10\x11"}), "\x10!");
}

TEST(DetachKeysTest, EverythingElsePassesInOrder) {
  EXPECT_EQ(Fed({"plain", " text"}), "plain text");
  EXPECT_EQ(Fed({"\x11\x10", "z"}), "\x11\x10z");
  EXPECT_EQ(Fed({"\x10\x10\x10x"}), "\x10\x10\x10x");
  EXPECT_EQ(Fed({""}), "");
}

TEST(DetachKeysTest, ALoneCtrlPWaitsForTheNextKey) {
  DetachKeys keys;
  EXPECT_EQ(keys.Feed("\x10").bytes, "");
  EXPECT_EQ(keys.Feed("z").bytes, "\x10z");
}

}  // namespace
}  // namespace hmvm
