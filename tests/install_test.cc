// `cmake --install` with a prefix: the installation runs a container by itself, wherever it lies.
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using InstallTest = GuestTest;

TEST_F(InstallTest, AnInstallationRunsAContainerFromItsPrefix) {
  const std::filesystem::path prefix = sandbox_->dir() / "prefix";
  const Outcome installed = RunProgram({"cmake", "--install", BuildDir(), "--prefix", prefix});
  ASSERT_EQ(installed.exit_code, 0) << Describe(installed);

  std::vector<std::string> command = sandbox_->Command({"run", "--rm", "busybox", "echo", "installed"});
  command[0] = prefix / "bin/hmvm";
  const Outcome outcome = RunProgram(command);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "installed\n");
  EXPECT_TRUE(std::filesystem::exists(prefix / "share/hmvm/vmlinux"));
  EXPECT_TRUE(std::filesystem::exists(prefix / "share/bash-completion/completions/hmvm"));
  std::filesystem::remove_all(prefix);
}

}  // namespace
}  // namespace hmvm::test
