#include "runtime/container/process_identity.h"

#include <signal.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(ProcessIdentityTest, ARunningProcessIsAliveAndAnEndedOneIsNot) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  const auto identity = IdentifyProcess(child);
  ASSERT_TRUE(identity.has_value());
  EXPECT_TRUE(IsAlive(*identity));

  ::kill(child, SIGKILL);
  siginfo_t info;
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_FALSE(IsAlive(*identity)) << "a zombie";
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(IsAlive(*identity));
}

TEST(ProcessIdentityTest, AnotherProcessOfTheSamePidIsNotTaken) {
  auto identity = IdentifyProcess(::getpid());
  ASSERT_TRUE(identity.has_value());
  auto other_start = *identity;
  other_start.start_ticks += 1;
  auto other_boot = *identity;
  other_boot.boot_id = "another boot";

  EXPECT_TRUE(IsAlive(*identity));
  EXPECT_FALSE(IsAlive(other_start));
  EXPECT_FALSE(IsAlive(other_boot));
  EXPECT_FALSE(IsAlive(ProcessIdentity{}));
}

}  // namespace
}  // namespace hmvm
