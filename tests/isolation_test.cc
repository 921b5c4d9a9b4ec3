// The ring3 platform's two walls: between a program and its guest's kernel, which every page and every gate
// is tried for; and between a guest and everyone else, which guests try that write over their own monitor.
#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/ring3_fixture.h"

namespace hmvm::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

using IsolationTest = Ring3Test;

TEST_F(IsolationTest, ProgramReachesNothingOfItsKernelAndTheMonitor) {
  for (const int cpus : {1, 2}) {
    const Outcome outcome = RunProgram(Machine({ISOLATION_CHECK, cpus}));

    EXPECT_EQ(outcome.exit_code, 0) << cpus << " CPUs: " << Describe(outcome) << Console();
  }
}

TEST_F(IsolationTest, KernelThatWritesOverItsMonitorHurtsItselfAlone) {
  constexpr int kSeeds = 100;
  // A guest that has come to loop or to wait for nothing is stopped after a while: nobody can say that it
  // won't end.
  constexpr int kWhileMs = 250;
  constexpr int kPowerOff = 0, kReset = 2, kPanic = 3, kKvmError = 4;
  constexpr int kStoppedAtStart = 128 + SIGTERM;  // on a busy host: before the VMM handles the signal
  // Ends with the exit code of its first process in the panic's message.
  Child neighbour(Machine({.program = REGISTER_CHECK, .command_line = "-- 20 7"}));

  for (int seed = 1; seed <= kSeeds; ++seed) {
    Child guest({VmmProgram(), "--platform=ring3", std::string("--kernel=") + SCRIBBLING_KERNEL, "--cpus=2",
                 "--memory_mib=48", "--cmdline=seed=" + std::to_string(seed)});
    if (!WaitUntil([&guest] { return !guest.Running(); }, kWhileMs)) guest.Signal(SIGTERM);
    const Outcome outcome = guest.Wait();

    EXPECT_THAT(outcome.exit_code, AnyOf(kPowerOff, kReset, kPanic, kKvmError, kStoppedAtStart))
        << seed << Describe(outcome);
    if (outcome.exit_code == kKvmError) {
      EXPECT_THAT(outcome.err, HasSubstr("ring3: ")) << seed;
    }
  }

  const Outcome outcome = neighbour.Wait();
  EXPECT_EQ(outcome.exit_code, kPanic) << Describe(outcome);
  EXPECT_THAT(Console(), HasSubstr("exitcode=0x00000000"));
}

}  // namespace
}  // namespace hmvm::test
