// A machine written into files and brought to life from them: by the agent's answers, which come from all of
// the guest. Nothing is said of how long anything takes.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

class SnapshotTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    folder_ = sandbox_->dir() / testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Machine::Options Defaults() const {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.kernel = GuestKernel();
    options.initramfs = GuestInitramfs();
    options.console = folder_ / "console";
    return options;
  }
  Machine::Options Restored() const {
    Machine::Options options = Defaults();
    options.restore = folder_ / "snapshot";
    return options;
  }
  static Machine Start(const Machine::Options& options) {
    Result<Machine> machine = Machine::Start(options);
    if (!machine.has_value()) throw std::runtime_error(machine.error().Message());  // the test fails with it
    return std::move(*machine);
  }
  void Snapshot(Machine& machine) const {
    const auto taken = machine.Snapshot(folder_ / "snapshot");
    ASSERT_TRUE(taken.has_value()) << taken.error().Message() << Console();
  }
  static Result<agent::v1::DescribeResponse> AskAgent(Machine& machine) {
    return machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
  }
  std::string Console() const {
    std::ifstream file(folder_ / "console", std::ios::binary);
    return "\n" + std::string{std::istreambuf_iterator<char>(file), {}};
  }

  fs::path folder_;
};

TEST_F(SnapshotTest, AKilledMachineGoesOnFromItsSnapshotAsOftenAsOneLikes) {
  Machine machine = Start(Defaults());
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console();
  Snapshot(machine);
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console();  // the snapshot does it no harm
  machine.Signal(SIGKILL);
  EXPECT_EQ(machine.Wait(), 128 + SIGKILL);

  for (int i = 0; i < 3; ++i) {
    Machine restored = Start(Restored());
    const auto answer = AskAgent(restored);
    ASSERT_TRUE(answer.has_value()) << answer.error().Message() << Console();
    EXPECT_EQ(answer->cpus(), 1u);
    EXPECT_EQ(restored.Stop(), 0);
  }
}

}  // namespace
}  // namespace hmvm::test
