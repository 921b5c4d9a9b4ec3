#include "security/syscall_rule_text.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(SyscallRuleTextTest, RulesComeBackFromTheirText) {
  const SyscallRule rules[] = {{309, {}, ""},
                               {72, {{1, 0xffffffff, 0x406}, {2, ~uint64_t{0}, ~uint64_t{0}}}, ""}};

  const std::string text = FormatSyscallRules(rules);
  const auto parsed = ParseSyscallRules(text);

  EXPECT_EQ(text, "309;72:1&ffffffff=406,2&ffffffffffffffff=ffffffffffffffff");
  ASSERT_TRUE(parsed.has_value());
  ASSERT_EQ(parsed->size(), 2u);
  EXPECT_EQ((*parsed)[0].number, 309);
  EXPECT_EQ((*parsed)[1].checks, rules[1].checks);
  EXPECT_TRUE(ParseSyscallRules("").value().empty());
}

TEST(SyscallRuleTextTest, AnythingElseIsRefused) {
  for (const char* text : {"x", "-1", "1:1", "1:6&1=1", "1:1&g=1", "1:1&1=", "1 ", "1;;2", "99999999999",
                           "1:1&1=1,1&1=1,1&1=1,1&1=1"}) {
    const auto parsed = ParseSyscallRules(text);

    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code, EINVAL);
  }
}

TEST(SyscallRuleTextTest, TooManyAreRefused) {
  std::string text = "1";
  for (size_t i = 0; i < kMaxFurtherRules; ++i) text += ";1";

  EXPECT_FALSE(ParseSyscallRules(text).has_value());
}

}  // namespace
}  // namespace hmvm
