// Guests of several vCPUs on the ring3 platform: what one changes in page tables all see, and they end as
// one.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/child.h"
#include "tests/support/sandbox.h"
#include "vmm/kvm/host_probe.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

class SmpTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    const auto probe = ProbeHost(*kvm);
    ASSERT_TRUE(probe.has_value()) << probe.error().Message();
    if (!probe->ring3_usable) GTEST_SKIP() << "this host has no use for the ring3 platform";
    if (GuestKernel().empty()) GTEST_SKIP() << "no guest kernel";
    std::string pattern = fs::temp_directory_path() / "hmvm-smp-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    const Outcome made = RunProgram({MAKE_INITRAMFS, SMP_CHECK, initrd().string()});
    ASSERT_EQ(made.exit_code, 0) << Describe(made);
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  Outcome Run(int cpus, const std::string& command_line) const {
    return RunProgram({VmmProgram(), "--platform=ring3", "--kernel=" + GuestKernel().string(),
                       "--initrd=" + initrd().string(), "--memory_mib=256", "--cpus=" + std::to_string(cpus),
                       "--console=" + console().string(), "--cmdline=loglevel=2 " + command_line});
  }
  fs::path initrd() const { return dir_ / "initrd"; }
  fs::path console() const { return dir_ / "console"; }

 private:
  fs::path dir_;
};

TEST_P(SmpTest, NoTranslationOutlivesItsChange) {
  const Outcome outcome = Run(GetParam(), "smp_cpus=" + std::to_string(GetParam()));

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << ReadFile(console()).value_or("");
}

TEST_P(SmpTest, VcpusComeUpAndGoDownThroughSysfs) {
  const Outcome outcome = Run(GetParam(), "smp_check=hotplug smp_cpus=" + std::to_string(GetParam()));

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << ReadFile(console()).value_or("");
}

TEST_P(SmpTest, RebootAndPanicEndAllVcpus) {
  EXPECT_EQ(Run(GetParam(), "smp_check=reboot").exit_code, 2);
  EXPECT_EQ(Run(GetParam(), "smp_check=panic").exit_code, 3);
}

// A kernel that panics sends each other vCPU an NMI, if asked to, whereupon it says what it was doing.
TEST_P(SmpTest, NmisComeWhateverAVcpuDoes) {
  constexpr char kAllBacktraces[] = "panic_print=0x40";
  const Outcome outcome = Run(GetParam(), std::string("smp_check=panic ") + kAllBacktraces);

  EXPECT_EQ(outcome.exit_code, 3);
  const std::string log = ReadFile(console()).value_or("");
  for (int cpu = 0; cpu < GetParam(); ++cpu) {
    EXPECT_THAT(log, testing::HasSubstr("NMI backtrace for cpu " + std::to_string(cpu))) << log;
  }
}

INSTANTIATE_TEST_SUITE_P(Vcpus, SmpTest, testing::Values(2, 4, 8));

}  // namespace
}  // namespace hmvm::test
