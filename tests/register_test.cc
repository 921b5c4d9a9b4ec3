// Processes that use the same vector registers must never see each other's.
#include <fstream>
#include <iterator>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using RegisterTest = ContainerTest;

TEST_F(RegisterTest, ThreeProcessesKeepTheirVectorRegistersForAMinute) {
  std::ifstream file(BuildDir() / "tests/register_check", std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(program.empty());
  ASSERT_EQ(
      ExecWith({"-i"}, {"sh", "-c", "cat > /bin/register_check && chmod 755 /bin/register_check"}, program)
          .exit_code,
      0);
  const Outcome host = RunProgram({BuildDir() / "tests/register_check", "1", "1"});
  ASSERT_EQ(host.exit_code, 0) << Describe(host);
  const std::string kind = host.out.substr(0, host.out.find(':'));

  const Outcome outcome = Exec(
      {"sh", "-c", "for seed in 1 2 3; do register_check 60 $seed & done; wait %1 && wait %2 && wait %3"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  // The guest sees the registers that the host has: three lines "avx512: N checks, 0 wrong".
  EXPECT_THAT(outcome.out, testing::MatchesRegex("(" + kind + ": [1-9][0-9]+ checks, 0 wrong\n){3}"));
}

}  // namespace
}  // namespace hmvm::test
