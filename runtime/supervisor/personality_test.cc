#include "runtime/supervisor/personality.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(PersonalityTest, NoTwoAreAlike) {
  const auto first = NewPersonality("box");
  const auto second = NewPersonality("box");

  EXPECT_NE(first.entropy(), second.entropy());
  EXPECT_NE(first.machine_id(), second.machine_id());
  EXPECT_EQ(first.hostname(), second.hostname());
}

TEST(PersonalityTest, MachineIdIsARandomUuidWithoutHyphens) {
  const std::string id = NewPersonality("box").machine_id();

  ASSERT_EQ(id.size(), 32u);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(id[12], '4');
  EXPECT_NE(std::string("89ab").find(id[16]), std::string::npos);
}

}  // namespace
}  // namespace hmvm
