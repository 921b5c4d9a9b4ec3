// The ring3 platform against a hostile program in its guest, and its messages about wrong machines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/ring3_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;

class Ring3PlatformTest : public Ring3Test {
 protected:
  Outcome Run(int memory_mib, int cpus = 1) const {
    return RunProgram(Machine({RING3_CHECK, cpus, memory_mib}));
  }
};

TEST_F(Ring3PlatformTest, HostileProgramReachesNothing) {
  const Outcome outcome = Run(128);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << Console();
}

TEST_F(Ring3PlatformTest, MemoryOnBothSidesOfTheHoleWorks) {
  const Outcome outcome = Run(3 * 1024 + 512);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << Console();
}

TEST_F(Ring3PlatformTest, TooLittleMemoryIsRefusedInWords) {
  const Outcome outcome = Run(24);

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("MiB"));
}

TEST_F(Ring3PlatformTest, MoreVcpusThanItHasAreRefusedInWords) {
  const Outcome outcome = Run(256, 9);

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("at most 8"));
}

// However the guest's kernel behaves, the machine ends as one of its ends, with a word about it.
TEST_F(Ring3PlatformTest, HostileKernelHarmsNobodyElse) {
  for (int malice = 0; malice <= 4; ++malice) {
    for (const char* seed : {"a", "b"}) {
      const std::string line = "--cmdline=malice=" + std::to_string(malice) + " seed=" + seed;
      Child machine({VmmProgram(), "--platform=ring3", std::string("--kernel=") + HOSTILE_KERNEL,
                     "--memory_mib=64", line});

      // A guest that only blocks or spins has done no harm: it is stopped.
      const Outcome outcome = machine.Wait(5'000);

      EXPECT_THAT(outcome.exit_code, testing::AnyOf(0, 2, 3, 4, 137)) << line << Describe(outcome);
      if (outcome.exit_code == 4) {
        EXPECT_THAT(outcome.err, HasSubstr("ring3: ")) << line;
      }
    }
  }
}

}  // namespace
}  // namespace hmvm::test
