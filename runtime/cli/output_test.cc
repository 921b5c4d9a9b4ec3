#include "runtime/cli/output.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({"ID", "NAME"});
  table.Add({"123456", "web"});
  table.Add({"1", ""});
  EXPECT_EQ(table.Format(),
            "ID       NAME\n"
            "123456   web\n"
            "1        \n");
}

TEST(TableTest, ACellControlsNoTerminal) {
  Table table({"IMAGE"});
  table.Add({"\x1b[31mred\n\x07"});
  EXPECT_EQ(table.Format(), "IMAGE\n?[31mred??\n");
}

TEST(FormatAgeTest, ForPeople) {
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(FormatAge(0), "less than a second");
  EXPECT_EQ(FormatAge(-5), "less than a second");
  EXPECT_EQ(FormatAge(59 * kSecond), "59 seconds");
  EXPECT_EQ(FormatAge(60 * kSecond), "about a minute");
  EXPECT_EQ(FormatAge(7199 * kSecond), "about an hour");
  EXPECT_EQ(FormatAge(50 * 3600 * kSecond), "2 days");
}

TEST(FormatCommandTest, OneLineOfPrintableText) {
  EXPECT_EQ(FormatCommand({"sh", "-c", "echo hi"}, 40), "sh -c 'echo hi'");
  EXPECT_EQ(FormatCommand({"a\x1b[2J", ""}, 40), "a\\x1b[2J ''");
  EXPECT_EQ(FormatCommand({std::string(100, 'x')}, 10), "xxxxxxxxxx...");
}

}  // namespace
}  // namespace hmvm
