// The jail from outside: what the host's kernel says of a VMM that runs.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "security/cell.h"
#include "security/machine_user.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// "Key:\tvalue" of /proc/PID/status.
std::map<std::string, std::string> StatusOf(const fs::path& folder) {
  std::map<std::string, std::string> status;
  std::istringstream lines(ReadText(folder / "status"));
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    const size_t value = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
    status[line.substr(0, colon)] = line.substr(value);
  }
  return status;
}

class VmmJailTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    if (!WhyNoJail().empty()) GTEST_SKIP() << WhyNoJail();
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    for (const std::string& name : started_) (void)sandbox_->Hmvm({"rm", "-f", name});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }

  // A container in the background: the folder of its VMM in /proc.
  fs::path Start(const std::string& name, const std::vector<std::string>& options = {}) {
    std::vector<std::string> command = {"run", "-d", "--name", name};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {"busybox", "sleep", "1000000"});
    started_.push_back(name);
    sandbox_->MustHmvm(command);
    return FolderOf(name);
  }
  static nlohmann::json Inspect(const std::string& name) {
    return nlohmann::json::parse(sandbox_->MustHmvm({"inspect", name}))[0];
  }
  static fs::path FolderOf(const std::string& name) {
    return "/proc/" + std::to_string(Inspect(name)["vmm_pid"].get<pid_t>());
  }

  // The file that says whose the VMM's user id is.
  static fs::path LockOf(const fs::path& vmm) {
    const std::string user = StatusOf(vmm)["Uid"];
    return fs::path(kMachineUserLocks) / user.substr(0, user.find('\t'));
  }

  std::vector<std::string> started_;
};

TEST_F(VmmJailTest, EachThreadHasNoRightsAndAFilter) {
  const fs::path vmm = Start("jailed");

  for (const fs::directory_entry& task : fs::directory_iterator(vmm / "task")) {
    auto status = StatusOf(task.path());
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
      EXPECT_EQ(status[set], "0000000000000000") << set;
    }
    EXPECT_EQ(status["NoNewPrivs"], "1");
    EXPECT_EQ(status["Seccomp"], "2") << status["Name"];
    EXPECT_EQ(status["Seccomp_filters"], "1") << status["Name"];
    EXPECT_THAT(status["NSpid"], HasSubstr("\t")) << "a number here, and one in a namespace of its own";
    EXPECT_EQ(status["Groups"], "");
    std::istringstream ids(status["Uid"] + " " + status["Gid"]);
    for (uid_t id; ids >> id;) EXPECT_GE(id, kFirstMachineUser);
  }
}

TEST_F(VmmJailTest, ItSharesNoNamespaceButTheClock) {
  const fs::path vmm = Start("jailed");

  for (const char* name : {"mnt", "pid", "net", "ipc", "uts", "user"}) {
    EXPECT_NE(fs::read_symlink(vmm / "ns" / name), fs::read_symlink(fs::path("/proc/self/ns") / name))
        << name;
  }
}

TEST_F(VmmJailTest, ItsRootIsEmptyAndReadOnly) {
  const fs::path vmm = Start("jailed");

  EXPECT_TRUE(fs::is_empty(vmm / "root"));
  const std::string mounts = ReadText(vmm / "mountinfo");
  EXPECT_EQ(std::ranges::count(mounts, '\n'), 1) << mounts;
  EXPECT_THAT(mounts, HasSubstr(" / / ro,nosuid,nodev,noexec"));
}

TEST_F(VmmJailTest, ItHoldsNoFolderAndNoFileButItsOwn) {
  const fs::path vmm = Start("jailed");

  std::set<std::string> files;
  for (const fs::directory_entry& fd : fs::directory_iterator(vmm / "fd")) {
    const std::string target = fs::read_symlink(fd.path());
    if (target.starts_with("/")) files.insert(target);
    EXPECT_FALSE(fs::is_directory(fd.path())) << target;
  }
  const std::string user = StatusOf(vmm)["Uid"];
  EXPECT_THAT(files, ElementsAre("/" + vmm.filename().string() + "/pagemap", "/dev/kvm", "/dev/null",
                                 std::string(kMachineUserLocks) + "/" + user.substr(0, user.find('\t')),
                                 HasSubstr("/images/rootfs/")));
}

TEST_F(VmmJailTest, ItIsInItsOwnCgroupAndWithinLimits) {
  const fs::path vmm = Start("jailed");

  const std::string id = Inspect("jailed")["id"];
  EXPECT_THAT(ReadText(vmm / "cgroup"), HasSubstr(":/hmvm/" + id + "\n"));
  const std::string limits = ReadText(vmm / "limits");
  EXPECT_THAT(limits, testing::ContainsRegex("Max core file size +0 +0 "));
  EXPECT_THAT(limits, testing::ContainsRegex("Max open files +2048 +2048 "));
}

TEST_F(VmmJailTest, NoTwoAreOfOneUser) {
  std::set<std::string> users;

  for (const char* name : {"one", "two", "three"}) users.insert(StatusOf(Start(name))["Uid"]);

  EXPECT_EQ(users.size(), 3u);
}

TEST_F(VmmJailTest, NothingStaysWhenItsSupervisorIsKilled) {
  const fs::path vmm = Start("orphan");
  const fs::path lock = LockOf(vmm);
  EXPECT_TRUE(fs::exists(lock));
  const pid_t supervisor = Inspect("orphan")["supervisor_pid"].get<pid_t>();

  ASSERT_EQ(::kill(supervisor, SIGKILL), 0);

  EXPECT_TRUE(WaitUntil([&] { return !fs::exists(vmm); })) << "the VMM goes with it";
  EXPECT_EQ(sandbox_->Hmvm({"rm", "-f", "orphan"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(lock));
  started_.clear();
}

TEST_F(VmmJailTest, TheNextStartRemovesAKilledOnesUserAndNoLivingOnes) {
  const fs::path living = LockOf(Start("living"));
  const fs::path vmm = Start("orphan");
  const fs::path lock = LockOf(vmm);
  ASSERT_EQ(::kill(Inspect("orphan")["supervisor_pid"].get<pid_t>(), SIGKILL), 0);
  ASSERT_TRUE(WaitUntil([&] { return !fs::exists(vmm); }));

  const fs::path next = LockOf(Start("next"));

  EXPECT_TRUE(next == lock || !fs::exists(lock));
  EXPECT_TRUE(fs::exists(next));
  EXPECT_TRUE(fs::exists(living));
  EXPECT_NE(next, living);
}

TEST_F(VmmJailTest, SeccompIsAsAskedFor) {
  EXPECT_EQ(StatusOf(Start("logged", {"--seccomp", "log"}))["Seccomp"], "2");
  EXPECT_EQ(StatusOf(Start("open", {"--seccomp", "off"}))["Seccomp"], "0");
  EXPECT_THAT(sandbox_->Hmvm({"run", "--seccomp", "perhaps", "busybox", "true"}).err,
              HasSubstr("'perhaps': there are kill, log and off"));
}

TEST_F(VmmJailTest, BothPlatformsBootInside) {
  for (const char* platform : {"ring3", "hardware"}) {
    const Outcome probe = sandbox_->Hmvm({"check"});
    if (std::string_view(platform) == "hardware" &&
        probe.out.find("platform hardware.") == std::string::npos) {
      continue;  // minutes, where ring 0 is emulated
    }
    EXPECT_EQ(RunContainer({"--no-template", "--platform", platform}, {"echo", "inside"}).out, "inside\n");
  }
}

}  // namespace
}  // namespace hmvm::test
