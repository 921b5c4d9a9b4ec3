// The ring3 platform against a hostile program in its guest, and its messages about wrong machines.
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

using testing::HasSubstr;

class Ring3PlatformTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    const auto probe = ProbeHost(*kvm);
    ASSERT_TRUE(probe.has_value()) << probe.error().Message();
    if (!probe->ring3_usable) GTEST_SKIP() << "this host has no use for the ring3 platform";
    if (GuestKernel().empty()) GTEST_SKIP() << "no guest kernel";
    std::string pattern = fs::temp_directory_path() / "hmvm-ring3-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    const Outcome made = RunProgram({MAKE_INITRAMFS, RING3_CHECK, initrd().string()});
    ASSERT_EQ(made.exit_code, 0) << Describe(made);
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  Outcome Run(int memory_mib) const {
    return RunProgram({VmmProgram(), "--platform=ring3", "--kernel=" + GuestKernel().string(),
                       "--initrd=" + initrd().string(), "--memory_mib=" + std::to_string(memory_mib),
                       "--console=" + console().string(), "--cmdline=loglevel=2"});
  }
  fs::path initrd() const { return dir_ / "initrd"; }
  fs::path console() const { return dir_ / "console"; }

 private:
  fs::path dir_;
};

TEST_F(Ring3PlatformTest, HostileProgramReachesNothing) {
  const Outcome outcome = Run(128);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << ReadFile(console()).value_or("");
}

TEST_F(Ring3PlatformTest, MemoryOnBothSidesOfTheHoleWorks) {
  const Outcome outcome = Run(3 * 1024 + 512);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome) << ReadFile(console()).value_or("");
}

TEST_F(Ring3PlatformTest, TooLittleMemoryIsRefusedInWords) {
  const Outcome outcome = Run(24);

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("MiB"));
}

TEST_F(Ring3PlatformTest, MoreVcpusThanItHasAreRefusedInWords) {
  const Outcome outcome = RunProgram({VmmProgram(), "--platform=ring3", "--kernel=" + GuestKernel().string(),
                                      "--initrd=" + initrd().string(), "--memory_mib=256", "--cpus=9"});

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
