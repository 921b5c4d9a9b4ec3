// The ring3 platform's two walls: between a program and its guest's kernel, which every page and every gate
// is tried for; and between a guest and everyone else, which guests try that write over their own monitor.
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

using testing::AnyOf;
using testing::HasSubstr;

class IsolationTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    const auto probe = ProbeHost(*kvm);
    ASSERT_TRUE(probe.has_value()) << probe.error().Message();
    if (!probe->ring3_usable) GTEST_SKIP() << "this host has no use for the ring3 platform";
    if (GuestKernel().empty()) GTEST_SKIP() << "no guest kernel";
    std::string pattern = fs::temp_directory_path() / "hmvm-isolation-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  // The command line of a machine whose first process is `program`.
  std::vector<std::string> Machine(const char* program, int cpus, const std::string& command_line) const {
    const Outcome made = RunProgram({MAKE_INITRAMFS, program, (dir_ / "initrd").string()});
    EXPECT_EQ(made.exit_code, 0) << Describe(made);
    return {VmmProgram(),
            "--platform=ring3",
            "--kernel=" + GuestKernel().string(),
            "--initrd=" + (dir_ / "initrd").string(),
            "--cpus=" + std::to_string(cpus),
            "--memory_mib=64",
            "--console=" + (dir_ / "console").string(),
            "--cmdline=loglevel=2 " + command_line};
  }
  std::string Console() const { return ReadFile(dir_ / "console").value_or(""); }

 private:
  fs::path dir_;
};

TEST_F(IsolationTest, ProgramReachesNothingOfItsKernelAndTheMonitor) {
  for (const int cpus : {1, 2}) {
    const Outcome outcome = RunProgram(Machine(ISOLATION_CHECK, cpus, ""));

    EXPECT_EQ(outcome.exit_code, 0) << cpus << " CPUs: " << Describe(outcome) << Console();
  }
}

TEST_F(IsolationTest, KernelThatWritesOverItsMonitorHurtsItselfAlone) {
  constexpr int kSeeds = 100;
  // A guest that has come to loop or to wait for nothing is stopped after a while: nobody can say that it
  // won't end.
  constexpr int kWhileMs = 250;
  constexpr int kPowerOff = 0, kReset = 2, kPanic = 3, kKvmError = 4;
  // Ends with the exit code of its first process in the panic's message.
  Child neighbour(Machine(REGISTER_CHECK, 1, "-- 20 7"));

  for (int seed = 1; seed <= kSeeds; ++seed) {
    Child guest({VmmProgram(), "--platform=ring3", std::string("--kernel=") + SCRIBBLING_KERNEL, "--cpus=2",
                 "--memory_mib=48", "--cmdline=seed=" + std::to_string(seed)});
    if (!WaitUntil([&guest] { return !guest.Running(); }, kWhileMs)) guest.Signal(SIGTERM);
    const Outcome outcome = guest.Wait();

    EXPECT_THAT(outcome.exit_code, AnyOf(kPowerOff, kReset, kPanic, kKvmError)) << seed << Describe(outcome);
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
