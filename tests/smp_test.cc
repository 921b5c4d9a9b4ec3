// Guests of several vCPUs on the ring3 platform: what one changes in page tables all see, and they end as
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/ring3_fixture.h"

namespace hmvm::test {
namespace {

class SmpTest : public Ring3Test, public testing::WithParamInterface<int> {
 protected:
  Outcome Run(const std::string& command_line) const {
    return RunProgram(Machine({SMP_CHECK, GetParam(), 256, command_line}));
  }
};

TEST_P(SmpTest, NoTranslationOutlivesItsChange) {
  const Outcome outcome = Run("smp_cpus=" + std::to_string(GetParam()));

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << Console();
}

TEST_P(SmpTest, VcpusComeUpAndGoDownThroughSysfs) {
  const Outcome outcome = Run("smp_check=hotplug smp_cpus=" + std::to_string(GetParam()));

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << Console();
}

TEST_P(SmpTest, RebootAndPanicEndAllVcpus) {
  EXPECT_EQ(Run("smp_check=reboot").exit_code, 2);
  EXPECT_EQ(Run("smp_check=panic").exit_code, 3);
}

// A kernel that panics sends each other vCPU an NMI, if asked to, whereupon it says what it was doing.
TEST_P(SmpTest, NmisComeWhateverAVcpuDoes) {
  constexpr char kAllBacktraces[] = "panic_print=0x40";
  const Outcome outcome = Run(std::string("smp_check=panic ") + kAllBacktraces);

  EXPECT_EQ(outcome.exit_code, 3);
  const std::string log = Console();
  for (int cpu = 0; cpu < GetParam(); ++cpu) {
    EXPECT_THAT(log, testing::HasSubstr("NMI backtrace for cpu " + std::to_string(cpu))) << log;
  }
}

INSTANTIATE_TEST_SUITE_P(Vcpus, SmpTest, testing::Values(2, 4, 8));

}  // namespace
}  // namespace hmvm::test
