// A container whose VMM turns hostile while its guest boots: the supervisor survives what it is sent, names
// what the VMM was ended for, and cleans up; a neighbour goes on.
#include <signal.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "security/guard/guard.h"
#include "tests/attack/hostile/attack_list.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class SupervisorAttackTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    // Of this version, if any: one that was loaded before may tell less.
    if (ProbeGuard().front().active) sandbox_->MustHmvm({"guard", "load"});
    // An installation with the other VMM.
    install_ = sandbox_->dir() / "install";
    fs::create_directories(install_ / "bin");
    fs::create_directories(install_ / "libexec/hmvm");
    fs::copy(HmvmProgram(), install_ / "bin/hmvm");
    fs::copy(HOSTILE_VMM, install_ / "libexec/hmvm/hmvm-vmm");
    fs::create_directory_symlink(BuildDir() / "share", install_ / "share");
  }
  void TearDown() override {
    if (install_.empty()) return;
    fs::remove_all(install_);
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }

  Outcome RunHostile(const std::string& attack, const std::vector<std::string>& options = {}) const {
    std::vector<std::string> arguments = {"run", "--rm", "--no-template"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"busybox", "true"});
    return Hostile(attack, arguments);
  }
  Outcome Hostile(const std::string& attack, const std::vector<std::string>& arguments) const {
    std::vector<std::string> command = sandbox_->Command(arguments);
    command[0] = install_ / "bin/hmvm";
    command.insert(command.begin(), {"env", std::string(kAttackVariable) + "=" + attack});
    return RunProgram(command);
  }

 private:
  fs::path install_;
};

TEST_F(SupervisorAttackTest, ForbiddenCallIsNamed) {
  const Outcome outcome = RunHostile("openat");

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("forbidden system call"));
  // The guard hears what the filter has killed it for.
  const std::string call = ProbeGuard().front().active ? "openat(" : "a forbidden system call";
  EXPECT_THAT(outcome.err, HasSubstr(call));
  EXPECT_THAT(sandbox_->MustHmvm({"events", "--filter", "event=breach"}), HasSubstr(call));
  EXPECT_THAT(sandbox_->MustHmvm({"audit", "verify"}), HasSubstr("the last one's hash is "));
}

TEST_F(SupervisorAttackTest, WithoutSeccompTheGuardNamesTheCall) {
  const Outcome outcome = RunHostile("openat", {"--seccomp", "off", "--require-guard"});

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("killed by the guard: openat("));
  EXPECT_THAT(sandbox_->MustHmvm({"events", "--filter", "event=breach"}), HasSubstr("openat("));
  EXPECT_THAT(sandbox_->MustHmvm({"audit", "verify"}), HasSubstr("the last one's hash is "));
}

// The template's VMM boots a guest as every other, and is confined as every other.
TEST_F(SupervisorAttackTest, AnAttackWhileATemplateIsBuiltIsStoppedAndTold) {
  const Outcome outcome = Hostile("openat", {"template", "build"});

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_EQ(sandbox_->MustHmvm({"template", "ls", "-q"}), "");
  if (!ProbeGuard().front().active) return;
  EXPECT_THAT(outcome.err, HasSubstr("openat("));
  const std::string log = ReadFile(sandbox_->root() / "audit/audit.jsonl").value();
  EXPECT_THAT(log, HasSubstr("\"container\":\"template-"));
}

TEST_F(SupervisorAttackTest, NonsenseOnItsChannelsEndsNothingElse) {
  sandbox_->MustHmvm({"run", "-d", "--name", "neighbour", "busybox", "sleep", "1000000"});

  for (const char* attack : {"control-garbage", "agent-garbage", "flood-log"}) {
    const Outcome outcome = RunHostile(attack);

    // The container has come to its end all the same, or is said to have failed.
    EXPECT_THAT(outcome.exit_code, AnyOf(0, 125)) << attack << ": " << Describe(outcome);
  }

  EXPECT_EQ(sandbox_->MustHmvm({"exec", "neighbour", "echo", "well"}), "well");
  sandbox_->MustHmvm({"rm", "-f", "neighbour"});
}

// What of a process's descriptors /proc tells.
std::vector<std::string> DescriptorsOf(pid_t pid) {
  std::vector<std::string> links;
  for (const fs::directory_entry& fd : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code closed;
    links.push_back(fs::read_symlink(fd, closed));
  }
  return links;
}

// With a profile by which the VMM may call sendmsg(2): then nothing is between it and who has the other ends.
TEST_F(SupervisorAttackTest, ADescriptorThatIsSentToTheSupervisorDoesNotArrive) {
  constexpr char kSent[] = "anon_inode:kvm-vm";
  const fs::path profile = sandbox_->dir() / "sendmsg.yaml";
  std::ofstream(profile) << "version: 1\nvmm:\n  syscalls: [sendmsg]\n";
  for (const std::string attack :
       {"send-descriptor-agent", "send-descriptor-control", "send-descriptor-files"}) {
    const Outcome outcome = Hostile(attack, {"run", "-d", "--name", "sender", "--no-template",
                                             "--security-profile", profile, "busybox", "sleep", "1000000"});
    ASSERT_EQ(outcome.exit_code, 0) << attack << ": " << Describe(outcome);
    // The supervisor has read on, on both streams.
    EXPECT_EQ(sandbox_->MustHmvm({"exec", "sender", "echo", "well"}), "well") << attack;
    sandbox_->MustHmvm({"pause", "sender"});
    const auto sender = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", "sender"})).at(0);

    EXPECT_THAT(DescriptorsOf(sender.at("supervisor_pid").get<pid_t>()), Not(Contains(kSent))) << attack;

    // That it was sent is the last that the VMM has said.
    const auto vmm = sender.at("vmm_pid").get<pid_t>();
    EXPECT_THAT(DescriptorsOf(vmm), Contains(kSent));
    ASSERT_EQ(::kill(vmm, SIGKILL), 0);
    (void)sandbox_->Hmvm({"wait", "sender"});
    EXPECT_THAT(sandbox_->MustHmvm({"inspect", "sender"}),
                HasSubstr("attack " + attack + ": " + std::string(kDone)));
    sandbox_->MustHmvm({"rm", "-f", "sender"});
  }
}

}  // namespace
}  // namespace hmvm::test
