// What is told and left when a machine, a supervisor or a VMM fails.
#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(HmvmTest, AMachineThatCantBeMadeSaysWhyAndLeavesNothing) {
  const CommandResult refused = Hmvm({"run", "--kernel", Kernel("refuse"), "busybox", "true"});
  EXPECT_EQ(refused.exit_code, 125);
  EXPECT_THAT(refused.output, testing::AllOf(HasSubstr(Kernel("refuse")), HasSubstr("not an ELF file")));
  const CommandResult panicked = Hmvm({"run", "-d", "--kernel", Kernel("panic"), "busybox", "true"});
  EXPECT_EQ(panicked.exit_code, 125);
  EXPECT_THAT(panicked.output,
              testing::AllOf(HasSubstr("Kernel panic - not syncing: "), Not(HasSubstr("\x1b"))));
  const CommandResult agentless = Hmvm({"run", "--kernel", Kernel("agentless"), "busybox", "true"});
  EXPECT_EQ(agentless.exit_code, 125);
  EXPECT_THAT(agentless.output,
              testing::AllOf(HasSubstr("hmvm-agent: no vsock"), Not(HasSubstr("kill init"))));
  EXPECT_EQ(Hmvm({"run", "--kernel", "/no/such/kernel", "busybox", "true"}).exit_code, 125);
  EXPECT_EQ(Must({"ps", "-aq"}), "");
}

TEST_F(HmvmTest, AMachineThatHangsAtBootCanBeInterrupted) {
  const std::string run = "$hmvm run --rm --no-template --name c --kernel " + Kernel("hang") +
                          " busybox true & pid=$!;"
                          "until $hmvm ps | grep -q Starting; do sleep 0.05; done; ";
  EXPECT_EQ(Shell(run + "kill -TERM $pid; wait $pid").exit_code, 143);
  EXPECT_EQ(Shell(run + "$hmvm rm -f c; wait $pid").exit_code, 137);
  EXPECT_EQ(Must({"ps", "-aq"}), "");
}

TEST_F(HmvmTest, AKilledSupervisorIsToldAndCleanedUp) {
  StartSleeper();
  const nlohmann::json before = Inspect("c");
  ::kill(before["supervisor_pid"], SIGKILL);
  Shell("while kill -0 " + std::to_string(before["vmm_pid"].get<int>()) + "; do sleep 0.05; done");

  EXPECT_EQ(Inspect("c")["status"], "failed");
  EXPECT_THAT(Inspect("c")["reason"].get<std::string>(), HasSubstr("killed"));
  EXPECT_EQ(Must({"ps", "-q"}), "");
  EXPECT_EQ(Must({"wait", "c"}), "137\n");
  EXPECT_EQ(Must({"logs", "-f", "c"}), "");
  EXPECT_NE(Hmvm({"stop", "c"}).output.size(), 0U);
  Must({"rm", "-f", "c"});
}

TEST_F(HmvmTest, OfAMachineThatHangsKillAndTopSaySo) {
  StartSleeper();
  ::kill(Inspect("c")["vmm_pid"], SIGSTOP);
  const CommandResult asked =
      Shell("timeout 60 $hmvm top c & top=$!; timeout 60 $hmvm kill c; echo killed $?; wait $top");
  EXPECT_EQ(asked.exit_code, 125);
  EXPECT_THAT(asked.output, HasSubstr("container 'c' does not answer\n"));
  EXPECT_THAT(asked.output, HasSubstr("`hmvm stop -t 0 c` ends its machine\n"));
  EXPECT_THAT(asked.output, HasSubstr("killed 125\n"));
  Must({"stop", "-t", "0", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "137\n");
}

TEST_F(HmvmTest, AKilledVmmIsToldWithItsReason) {
  StartSleeper();
  ::kill(Inspect("c")["vmm_pid"], SIGKILL);
  EXPECT_EQ(Must({"wait", "c"}), "137\n");
  EXPECT_EQ(Inspect("c")["status"], "failed");
  EXPECT_THAT(Inspect("c")["reason"].get<std::string>(), HasSubstr("signal 9"));
  Must({"rm", "c"});
}

}  // namespace
}  // namespace hmvm
