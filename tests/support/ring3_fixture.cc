#include "tests/support/ring3_fixture.h"

#include <cstdlib>

#include "base/file.h"
#include "vmm/kvm/host_probe.h"

namespace hmvm::test {
namespace fs = std::filesystem;

void Ring3Test::SetUp() {
  const auto kvm = Kvm::Open();
  if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
  const auto probe = ProbeHost(*kvm);
  ASSERT_TRUE(probe.has_value()) << probe.error().Message();
  if (!probe->ring3_usable) GTEST_SKIP() << "this host has no use for the ring3 platform";
  if (GuestKernel().empty()) GTEST_SKIP() << "no guest kernel";
  std::string pattern = fs::temp_directory_path() / "hmvm-ring3-test-XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  dir_ = pattern;
}

void Ring3Test::TearDown() {
  if (!dir_.empty()) fs::remove_all(dir_);
}

std::vector<std::string> Ring3Test::Machine(const Options& options) const {
  const fs::path initrd = dir_ / "initrd";
  const Outcome made = RunProgram({SourceDir() / "guest/initramfs/make-initramfs", options.program, initrd});
  EXPECT_EQ(made.exit_code, 0) << Describe(made);
  return {VmmProgram(),
          "--platform=ring3",
          "--kernel=" + GuestKernel().string(),
          "--initrd=" + initrd.string(),
          "--cpus=" + std::to_string(options.cpus),
          "--memory_mib=" + std::to_string(options.memory_mib),
          "--console=" + (dir_ / "console").string(),
          "--cmdline=loglevel=2 " + options.command_line};
}

std::string Ring3Test::Console() const { return ReadFile(dir_ / "console").value_or(""); }

}  // namespace hmvm::test
