// Snapshots of a machine whose memory changes meanwhile: full ones, diffs, live or not, and their chains. The
// guest itself finds a page that is not of the same moment as the rest (tests/guest/memory_check.cc).
#include <sys/mount.h>

#include <filesystem>

#include "base/file.h"
#include "tests/support/child.h"
#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int kPatienceMs = 60'000;

class LiveSnapshotTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    folder_ = sandbox_->dir() / testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(folder_);
    const Outcome made = RunProgram({MAKE_INITRAMFS, MEMORY_CHECK, (folder_ / "initrd").string()});
    ASSERT_EQ(made.exit_code, 0) << Describe(made);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A guest that fills `mib` of its 128 MiB and goes on changing them as fast as it can.
  Machine Start(unsigned mib) {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.kernel = GuestKernel();
    options.initramfs = folder_ / "initrd";
    options.console = folder_ / "console";
    options.command_line = "-- " + std::to_string(mib) + " 0";
    return Started(options);
  }
  Machine Restore(const fs::path& folder, std::vector<fs::path> parents) {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.console = folder_ / "restored";
    fs::remove(options.console);
    options.restore = folder;
    options.restore_parents = std::move(parents);
    return Started(options);
  }
  static Machine Started(const Machine::Options& options) {
    Result<Machine> machine = Machine::Start(options);
    if (!machine.has_value()) throw std::runtime_error(machine.error().Message());  // the test fails with it
    return std::move(*machine);
  }

  std::string Console(const char* name) const { return ReadFile(folder_ / name).value_or(""); }
  // Lines that the guest has said so far.
  static size_t Checked(const std::string& console) {
    size_t count = 0;
    for (size_t at = 0; (at = console.find("checked ", at)) != std::string::npos; ++at) ++count;
    return count;
  }
  // Whether the guest goes on, and has found nothing wrong.
  void ExpectGoesOn(const char* console) const {
    const size_t before = Checked(Console(console));
    EXPECT_TRUE(WaitUntil([&] { return Checked(Console(console)) >= before + 3; }, kPatienceMs))
        << Console(console);
    EXPECT_THAT(Console(console), Not(HasSubstr("WRONG")));
  }

  fs::path folder_;
};

TEST_F(LiveSnapshotTest, EverySnapshotOfAChainIsOfOneMoment) {
  Machine machine = Start(48);
  ASSERT_TRUE(WaitUntil([&] { return Checked(Console("console")) > 0; }, kPatienceMs)) << Console("console");
  std::vector<fs::path> chain;
  vmm::v1::SnapshotRequest request;

  for (const bool live : {true, true, false, true}) {
    request.set_live(live);
    const fs::path folder = folder_ / ("snapshot" + std::to_string(chain.size()));
    const auto taken = machine.Snapshot(folder, request);
    ASSERT_TRUE(taken.has_value()) << taken.error().Message();
    EXPECT_EQ(taken->rounds() > 0, live);
    request.set_diff_of(taken->memory_id());
    chain.push_back(folder);
    ExpectGoesOn("console");
  }
  EXPECT_EQ(machine.Stop(), 0);

  for (size_t length = 1; length <= chain.size(); ++length) {
    Machine restored =
        Restore(chain[length - 1], {chain.begin(), chain.begin() + static_cast<ptrdiff_t>(length) - 1});
    ExpectGoesOn("restored");
    EXPECT_EQ(restored.Stop(), 0);
  }
}

TEST_F(LiveSnapshotTest, ExportedChainRunsWhileItIsUnpackedAndAfterAnImport) {
  Machine machine = Start(48);
  ASSERT_TRUE(WaitUntil([&] { return Checked(Console("console")) > 0; }, kPatienceMs)) << Console("console");
  vmm::v1::SnapshotRequest request;
  const auto full = machine.Snapshot(folder_ / "full", request);
  ASSERT_TRUE(full.has_value()) << full.error().Message();
  request.set_diff_of(full->memory_id());
  request.set_live(true);
  ASSERT_TRUE(machine.Snapshot(folder_ / "diff", request).has_value());
  EXPECT_EQ(machine.Stop(), 0);
  const std::string archive = folder_ / "web.zst";
  const auto tool = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), VmmProgram().parent_path() / "hmvm-snapshot");
    const Outcome outcome = RunProgram(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  };

  fs::create_hard_link(folder_ / "full/memory", folder_ / "diff/memory.0");
  tool({"export", archive, folder_ / "diff"});
  tool({"import", archive, folder_ / "imported"});
  tool({"merge", folder_ / "merged", folder_ / "diff"});

  Machine::Options options;
  options.vmm = VmmProgram();
  options.console = folder_ / "restored";
  options.restore_archive = archive;
  Machine lazy = Started(options);
  // It can be put into a snapshot before all of it is there.
  const auto again = lazy.Snapshot(folder_ / "again");
  EXPECT_TRUE(again.has_value()) << again.error().Message();
  ExpectGoesOn("restored");
  EXPECT_EQ(lazy.Stop(), 0);
  for (const char* name : {"imported", "merged", "again"}) {
    Machine restored = Restore(folder_ / name, {});
    ExpectGoesOn("restored");
    EXPECT_EQ(restored.Stop(), 0);
  }
}

TEST_F(LiveSnapshotTest, RestoredMachineCanBePutIntoSnapshotsItself) {
  Machine machine = Start(32);
  ASSERT_TRUE(WaitUntil([&] { return Checked(Console("console")) > 0; }, kPatienceMs)) << Console("console");
  ASSERT_TRUE(machine.Snapshot(folder_ / "first").has_value());
  EXPECT_EQ(machine.Stop(), 0);
  vmm::v1::SnapshotRequest live;
  live.set_live(true);

  Machine restored = Restore(folder_ / "first", {});
  const auto second = restored.Snapshot(folder_ / "second", live);
  ASSERT_TRUE(second.has_value()) << second.error().Message();
  EXPECT_EQ(restored.Stop(), 0);

  Machine again = Restore(folder_ / "second", {});
  ExpectGoesOn("restored");
  EXPECT_EQ(again.Stop(), 0);
}

TEST_F(LiveSnapshotTest, FullDiskIsNamedAndTheGuestGoesOn) {
  const fs::path small = folder_ / "small";
  fs::create_directories(small);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=8m") != 0)
    GTEST_SKIP() << "we may not mount a file system";
  Machine machine = Start(32);
  ASSERT_TRUE(WaitUntil([&] { return Checked(Console("console")) > 0; }, kPatienceMs)) << Console("console");
  vmm::v1::SnapshotRequest request;

  for (const bool live : {true, false}) {
    request.set_live(live);
    const auto failed = machine.Snapshot(small / (live ? "live" : "held"), request);
    ASSERT_FALSE(failed.has_value());
    EXPECT_THAT(failed.error().what, HasSubstr("the file of the snapshot's memory"));
    EXPECT_THAT(failed.error().Message(), HasSubstr("No space left on device"));
    ExpectGoesOn("console");
  }
  EXPECT_EQ(::umount(small.c_str()), 0);

  ASSERT_TRUE(machine.Snapshot(folder_ / "snapshot", request).has_value());
  EXPECT_EQ(machine.Stop(), 0);
  Machine restored = Restore(folder_ / "snapshot", {});
  ExpectGoesOn("restored");
  EXPECT_EQ(restored.Stop(), 0);
}

}  // namespace
}  // namespace hmvm::test
