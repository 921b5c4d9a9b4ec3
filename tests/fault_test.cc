// Whatever is killed at whatever moment: the next command tells the truth, rm -f cleans, nothing is left.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <sstream>
#include <thread>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class FaultTest : public GuestTest {
 protected:
  static void StartSleeper() {
    sandbox_->MustHmvm({"run", "-d", "--name", "victim", "busybox", "sleep", "100000"});
  }
  static pid_t Vmm() {
    const std::vector<pid_t> vmms = FindProcesses("hmvm-vmm");
    return vmms.size() == 1 ? vmms[0] : -1;
  }
  // With no command under way, what is left of hmvm beside the VMM.
  static pid_t Supervisor() {
    for (const pid_t pid : FindProcesses(HmvmProgram().string())) {
      if (pid != Vmm()) return pid;
    }
    return -1;
  }
  static void ExpectEndedAndRemovable() {
    EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps"}).out.find("sleep") == std::string::npos; }));
    EXPECT_THAT(sandbox_->MustHmvm({"ps"}), Not(HasSubstr("busybox")));
    EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a"}), HasSubstr("busybox"));
    EXPECT_NE(sandbox_->Hmvm({"exec", "victim", "true"}).exit_code, 0);
    sandbox_->MustHmvm({"rm", "-f", "victim"});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }
};

TEST_F(FaultTest, TheVmmIsKilled) {
  StartSleeper();
  ASSERT_GT(Vmm(), 0);

  ::kill(Vmm(), SIGKILL);

  ExpectEndedAndRemovable();
}

TEST_F(FaultTest, TheSupervisorIsKilledAndTakesTheVmmWithIt) {
  StartSleeper();
  const pid_t vmm = Vmm();
  ASSERT_GT(vmm, 0);
  ASSERT_GT(Supervisor(), 0);

  ::kill(Supervisor(), SIGKILL);

  EXPECT_TRUE(WaitUntil([&] { return !ProcessExists(vmm); }));
  ExpectEndedAndRemovable();
}

TEST_F(FaultTest, BothAreKilled) {
  StartSleeper();
  const pid_t vmm = Vmm(), supervisor = Supervisor();
  ASSERT_GT(vmm, 0);
  ASSERT_GT(supervisor, 0);

  ::kill(supervisor, SIGKILL);
  ::kill(vmm, SIGKILL);

  ExpectEndedAndRemovable();
}

TEST_F(FaultTest, AForegroundRunWhoseVmmDiesSaysSo) {
  Child child(sandbox_->Command({"run", "--name", "victim", "busybox", "sh", "-c", "echo up; sleep 100000"}));
  ASSERT_TRUE(child.WaitForOutput("up\n"));
  ASSERT_GT(Vmm(), 0);

  ::kill(Vmm(), SIGKILL);
  const Outcome outcome = child.Wait();

  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, Not(IsEmpty()));
  ExpectEndedAndRemovable();
}

TEST_F(FaultTest, TheClientOfAnExecIsKilledAndTheContainerLives) {
  StartSleeper();
  {
    Child exec(sandbox_->Command({"exec", "-i", "victim", "sh", "-c", "echo up; cat"}));
    ASSERT_TRUE(exec.WaitForOutput("up\n"));
    exec.Signal(SIGKILL);
    exec.Wait();
  }

  EXPECT_EQ(sandbox_->MustHmvm({"exec", "victim", "echo", "alive"}), "alive");
  sandbox_->MustHmvm({"rm", "-f", "victim"});
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
}

TEST_F(FaultTest, APausedContainerThatLosesItsProcessesIsToldAndStartsAgain) {
  for (const bool supervisor : {true, false}) {
    StartSleeper();
    sandbox_->MustHmvm({"pause", "victim"});
    ASSERT_GT(Vmm(), 0);
    ::kill(supervisor ? Supervisor() : Vmm(), SIGKILL);
    EXPECT_TRUE(WaitUntil([] {
      return sandbox_->Hmvm({"ps", "-a"}).out.find("Failed") != std::string::npos;
    }));
    EXPECT_TRUE(WaitUntil([] { return FindProcesses("hmvm-vmm").empty(); }));

    sandbox_->MustHmvm({"start", "victim"});

    EXPECT_EQ(sandbox_->MustHmvm({"exec", "victim", "echo", "alive"}), "alive");
    sandbox_->MustHmvm({"rm", "-f", "victim"});
  }
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
}

TEST_F(FaultTest, ASupervisorThatIsKilledBeforeARestartDoesNotRestart) {
  sandbox_->MustHmvm({"run", "-d", "--name", "victim", "--restart", "always", "busybox", "true"});
  ASSERT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps"}).out.find("Restarting") != std::string::npos; }));
  ASSERT_GT(Supervisor(), 0);

  ::kill(Supervisor(), SIGKILL);

  EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps", "-a"}).out.find("Failed") != std::string::npos; }));
  EXPECT_THAT(sandbox_->MustHmvm({"events", "--filter", "event=failed"}), HasSubstr("was killed"));
  sandbox_->MustHmvm({"rm", "victim"});
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
}

// It is `hmvm run` itself; there is no container yet, and the VMM goes with it.
TEST_F(FaultTest, WhatAKilledBuilderOfATemplateLeavesGoesWhenContainersAreListed) {
  std::istringstream templates(sandbox_->MustHmvm({"template", "ls", "-q"}));
  for (std::string id; templates >> id;) sandbox_->MustHmvm({"template", "rm", id});
  Child run(sandbox_->Command({"run", "-d", "--name", "victim", "busybox", "sleep", "100000"}));
  ASSERT_TRUE(WaitUntil([] { return !FindProcesses("hmvm-vmm").empty(); }));
  ASSERT_FALSE(fs::is_empty(sandbox_->root() / "templates"));
  run.Signal(SIGKILL);
  run.Wait();

  EXPECT_EQ(sandbox_->MustHmvm({"ps", "-a", "-q"}), "");

  EXPECT_TRUE(fs::is_empty(sandbox_->root() / "templates"));
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
}

// The same for the commands of a whole life, one after the other.
class RandomMomentOfALifeTest : public FaultTest, public testing::WithParamInterface<int> {};
TEST_P(RandomMomentOfALifeTest, AKillIsToldTruthfullyAndTheContainerStartsAgain) {
  constexpr int kLifetimeMs = 1500;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  sandbox_->MustHmvm({"create", "--name", "victim", "busybox", "sleep", "100000"});
  std::string line;
  for (const std::string& word : sandbox_->Command({})) line += word + " ";
  Child life(
      {"/bin/sh", "-c",
       "for c in start pause resume 'restart -t 0' pause 'stop -t 0' start; do " + line + "$c victim; done"});
  std::this_thread::sleep_for(std::chrono::milliseconds(random() % kLifetimeMs));

  std::vector<pid_t> targets = FindProcesses(HmvmProgram().string());
  std::erase(targets, life.pid());
  const std::vector<pid_t> vmms = FindProcesses("hmvm-vmm");
  targets.insert(targets.end(), vmms.begin(), vmms.end());
  if (!targets.empty()) ::kill(targets[random() % targets.size()], SIGKILL);
  life.Wait();

  EXPECT_EQ(sandbox_->Hmvm({"ps", "-a"}).exit_code, 0) << "seed " << seed;
  sandbox_->MustHmvm({"restart", "-t", "0", "victim"});
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "victim", "echo", "alive"}), "alive") << "seed " << seed;
  sandbox_->MustHmvm({"rm", "-f", "victim"});
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty()) << "seed " << seed;
}
INSTANTIATE_TEST_SUITE_P(Moments, RandomMomentOfALifeTest, testing::Range(0, 5));

// One of hmvm's processes dies at a moment of a container's life that nobody chose: the delay is random, so
// that over time every line is met. The seed of a failure is in its message.
class RandomMomentTest : public FaultTest, public testing::WithParamInterface<int> {};
TEST_P(RandomMomentTest, AKillLeavesNothingThatForceDoesNotRemove) {
  constexpr int kLifetimeMs = 2500;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  Child run(sandbox_->Command({"run", "-d", "--name", "victim", "busybox", "sleep", "2"}));
  std::this_thread::sleep_for(std::chrono::milliseconds(random() % kLifetimeMs));

  std::vector<pid_t> targets = FindProcesses(HmvmProgram().string());
  const std::vector<pid_t> vmms = FindProcesses("hmvm-vmm");
  targets.insert(targets.end(), vmms.begin(), vmms.end());
  if (!targets.empty()) ::kill(targets[random() % targets.size()], SIGKILL);
  const Outcome started = run.Wait();
  EXPECT_TRUE(started.exit_code == 0 || !targets.empty()) << Describe(started);

  const Outcome list = sandbox_->Hmvm({"ps", "-a"});
  EXPECT_EQ(list.exit_code, 0) << "seed " << seed << "\n" << Describe(list);
  const bool running = FindProcesses("hmvm-vmm").size() == 1;
  // The container may end while we look, so only one direction holds: what is not there is not shown as
  // running.
  if (!running) {
    EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps", "-q"}).out.empty(); })) << "seed " << seed;
  }
  if (!sandbox_->MustHmvm({"ps", "-a", "-q"}).empty()) sandbox_->MustHmvm({"rm", "-f", "victim"});
  EXPECT_EQ(sandbox_->MustHmvm({"ps", "-a", "-q"}), "") << "seed " << seed;
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty()) << "seed " << seed;
}
INSTANTIATE_TEST_SUITE_P(Moments, RandomMomentTest, testing::Range(0, 20));

}  // namespace
}  // namespace hmvm::test
