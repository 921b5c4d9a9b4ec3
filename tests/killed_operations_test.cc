// Each operation with one of its processes killed in the midst of it, at a moment that nobody chose: the next
// commands work, the operation too, and nothing is left.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <sstream>
#include <thread>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

using Command = std::vector<std::string>;

// Words that begin with "F/" are files of the test, TEMPLATE is the one there is. There are a container
// "origin", which sleeps, and "base", a snapshot of it.
struct Operation {
  const char* name;
  std::vector<Command> before;
  Command command;
};
void PrintTo(const Operation& operation, std::ostream* out) { *out << operation.name; }

const std::vector<Operation>& Operations() {
  static const Command kCreate = {"create", "--name", "made", "busybox", "sleep", "1000"};
  static const Command kRun = {"run", "-d", "--name", "made", "busybox", "sleep", "1000"};
  static const Command kExport = {"snapshot", "export", "base", "F/base.zst"};
  static const std::vector<Operation> operations = {
      {"Create", {}, kCreate},
      {"Run", {}, kRun},
      {"Start", {kCreate}, {"start", "made"}},
      {"Exec", {}, {"exec", "origin", "true"}},
      {"Pause", {}, {"pause", "origin"}},
      {"Resume", {{"pause", "origin"}}, {"resume", "origin"}},
      {"Stop", {}, {"stop", "-t", "0", "origin"}},
      {"Restart", {}, {"restart", "-t", "0", "origin"}},
      {"Kill", {}, {"kill", "origin"}},
      {"Remove", {kRun}, {"rm", "-f", "made"}},
      {"SnapshotCreate", {}, {"snapshot", "create", "origin", "made"}},
      {"SnapshotCreateDiff", {}, {"snapshot", "create", "--diff-of", "base", "origin", "made"}},
      {"SnapshotMerge",
       {{"snapshot", "create", "--diff-of", "base", "origin", "diff"}},
       {"snapshot", "merge", "diff", "made"}},
      {"SnapshotRemove", {}, {"snapshot", "rm", "base"}},
      {"SnapshotExport", {}, kExport},
      {"SnapshotImport", {kExport}, {"snapshot", "import", "F/base.zst", "made"}},
      {"Restore", {}, {"restore", "--name", "made", "base"}},
      {"RestoreOfAFile", {kExport}, {"restore", "--name", "made", "F/base.zst"}},
      {"Fork", {}, {"fork", "-n", "2", "origin"}},
      {"TemplateBuild", {}, {"template", "build"}},
      {"TemplateRemove", {{"template", "build"}}, {"template", "rm", "TEMPLATE"}},
      {"ImageImport", {}, {"image", "import", "--name", "made", BusyboxLayout()}},
      {"ImageRemove", {{"image", "import", "--name", "made", BusyboxLayout()}}, {"image", "rm", "made"}}};
  return operations;
}

class KilledOperationTest : public GuestTest, public testing::WithParamInterface<Operation> {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (!IsSkipped()) fs::create_directory(Files());
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    Clear();
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
    fs::remove_all(Files());
  }

  static fs::path Files() { return sandbox_->dir() / "files"; }
  static Command Placed(Command command) {
    for (std::string& word : command) {
      if (word.starts_with("F/")) word = Files() / word.substr(2);
      if (word == "TEMPLATE") word = sandbox_->MustHmvm({"template", "ls", "-q"});
    }
    return command;
  }

  // A good beginning, whatever was before.
  static void Prepare() {
    Clear();
    sandbox_->MustHmvm({"run", "-d", "--name", "origin", "busybox", "sleep", "1000000"});
    sandbox_->MustHmvm({"snapshot", "create", "origin", "base"});
    for (const Command& command : GetParam().before) sandbox_->MustHmvm(Placed(command));
  }

  // All that is there is as good as any, and goes when it is told to.
  static void Clear() {
    std::istringstream containers(sandbox_->MustHmvm({"ps", "-aq"}));
    for (std::string id; containers >> id;) sandbox_->MustHmvm({"rm", "-f", id});
    std::istringstream snapshots(sandbox_->MustHmvm({"snapshot", "ls", "-q"}));
    for (std::string name; snapshots >> name;) sandbox_->MustHmvm({"snapshot", "rm", name});
    std::istringstream images(sandbox_->MustHmvm({"images"}));
    for (std::string line; std::getline(images, line);) {
      if (line.starts_with("made ")) sandbox_->MustHmvm({"image", "rm", "made"});
    }
    sandbox_->MustHmvm({"template", "ls"});
    for (const fs::directory_entry& file : fs::directory_iterator(Files())) {
      EXPECT_EQ(file.path().filename(), "base.zst");
      fs::remove(file.path());
    }
  }

  static std::vector<pid_t> HmvmProcesses() {
    std::vector<pid_t> pids = FindProcesses(HmvmProgram().string());
    const std::vector<pid_t> helpers = FindProcesses("libexec/hmvm/");
    pids.insert(pids.end(), helpers.begin(), helpers.end());
    return pids;
  }
};

TEST_P(KilledOperationTest, LeavesNothingAndTheNextOneWorks) {
  constexpr int kKills = 2;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  Prepare();
  const auto begun = std::chrono::steady_clock::now();
  sandbox_->MustHmvm(Placed(GetParam().command));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;

  for (int kill = 0; kill < kKills; ++kill) {
    Prepare();
    Child child(sandbox_->Command(Placed(GetParam().command)));
    std::this_thread::sleep_for(took * std::uniform_real_distribution()(random));
    const std::vector<pid_t> targets = HmvmProcesses();
    if (!targets.empty()) ::kill(targets[random() % targets.size()], SIGKILL);
    child.Wait();
  }

  Prepare();
  sandbox_->MustHmvm(Placed(GetParam().command));
  // No draft of anything.
  for (const char* store : {"containers", "snapshots", "templates", "images"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(sandbox_->root() / store)) {
      EXPECT_NE(entry.path().filename().string()[0], '.') << entry.path();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Operations, KilledOperationTest, testing::ValuesIn(Operations()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace hmvm::test
