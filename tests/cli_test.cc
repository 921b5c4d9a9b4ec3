// What hmvm says of itself. No guest is booted.
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;

class HelpTest : public testing::TestWithParam<const char*> {};
TEST_P(HelpTest, EveryCommandHasHelpWithExamples) {
  const Sandbox sandbox;

  const Outcome outcome = RunProgram({"sh", "-c", HmvmProgram().string() + " " + GetParam() + " --help"});

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("Usage: hmvm"), HasSubstr("Examples:")));
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(sandbox.Leftovers(), testing::IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(Commands, HelpTest,
                         testing::Values("run", "ps", "logs", "exec", "stop", "kill", "rm", "wait", "inspect",
                                         "images", "image import", "image rm", "create", "start", "restart",
                                         "pause", "resume", "unpause", "events", "stats", "top", "check",
                                         "version"));

TEST(CliTest, AnUnknownCommandIsNamed) {
  const Outcome outcome = RunProgram({HmvmProgram(), "fly"});

  EXPECT_EQ(outcome.exit_code, 125);
  EXPECT_THAT(outcome.err, HasSubstr("fly"));
}

TEST(CliTest, CheckSaysWhichPlatformAndWhy) {
  const Outcome outcome = RunProgram({HmvmProgram(), "check"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(outcome.out, testing::ContainsRegex("guest ring 0 .*\n")) << Describe(outcome);
  EXPECT_THAT(outcome.out, testing::ContainsRegex("Containers run on the platform (ring3|hardware)\\."))
      << Describe(outcome);
}

TEST(CliTest, AnEmptyRootIsAnEmptyList) {
  const Sandbox sandbox;

  EXPECT_EQ(sandbox.MustHmvm({"ps", "-a", "-q"}), "");
  EXPECT_EQ(sandbox.MustHmvm({"images", "-q"}), "");
  EXPECT_EQ(sandbox.MustHmvm({"ps", "-a", "--format", "json"}), "[]");
}

}  // namespace
}  // namespace hmvm::test
