// A kernel that nobody here built, Debian's for clouds, under ring3: how far it gets, and how its end is
// told.
#include <algorithm>
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

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class StockKernelTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const Outcome fetched =
        RunProgram({SourceDir() / "tests/images/fetch-stock-kernel"}, "", kBuildPatienceMs);
    if (fetched.exit_code == 0) {
      kernel_ = fetched.out.substr(0, fetched.out.find('\n'));
    } else {
      why_not_ = fetched.err;
    }
  }
  void SetUp() override {
    if (!why_not_.empty()) GTEST_SKIP() << "no stock kernel: " << why_not_;
    const auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    const auto probe = ProbeHost(*kvm);
    ASSERT_TRUE(probe.has_value()) << probe.error().Message();
    if (probe->BestPlatform() != "ring3") GTEST_SKIP() << "this host has no use for the ring3 platform";
  }

  static std::string kernel_;
  static std::string why_not_;
};
std::string StockKernelTest::kernel_;
std::string StockKernelTest::why_not_;

// Its virtio drivers are modules, so the agent is as far as it gets.
TEST_F(StockKernelTest, BootsToTheAgentAndEndsAsAPanic) {
  const Sandbox sandbox;
  const fs::path console = sandbox.dir() / "console";

  const Outcome outcome = RunProgram({VmmProgram(), "--platform=ring3", "--kernel=" + kernel_,
                                      "--initrd=" + GuestInitramfs().string(), "--memory_mib=256",
                                      "--console=" + console.string()});

  EXPECT_EQ(outcome.exit_code, 3) << Describe(outcome);
  EXPECT_THAT(ReadFile(console).value_or(""),
              AllOf(HasSubstr("hmvm-agent: "), HasSubstr("-cloud-amd64 #1  Debian ")));
}

TEST_F(StockKernelTest, RunSaysWhatTheKernelLacksAndLeavesNothing) {
  const Sandbox sandbox;
  sandbox.ImportBusybox();

  const Outcome outcome = sandbox.Hmvm({"run", "--kernel", kernel_, "busybox", "true"});

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr(kernel_), HasSubstr("needs virtio-mmio, virtio-blk, virtio-vsock")));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(sandbox.MustHmvm({"ps", "-aq"}), "");
  EXPECT_THAT(sandbox.Leftovers(), IsEmpty());
}

}  // namespace
}  // namespace hmvm::test
