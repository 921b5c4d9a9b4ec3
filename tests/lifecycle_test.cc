// Containers in the background, and the commands that look after them.
#include <signal.h>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Each test makes the containers that it needs, and leaves none.
class LifecycleTest : public GuestTest {
 protected:
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }
  static std::string Start(const std::string& name, const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"run", "-d", "--name", name, "busybox"};
    arguments.insert(arguments.end(), command.begin(), command.end());
    return sandbox_->MustHmvm(arguments);
  }
};

TEST_F(LifecycleTest, ADetachedContainerRunsIsSeenStopsAndGoes) {
  const std::string id =
      Start("web", {"sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"});

  EXPECT_THAT(id, testing::MatchesRegex("[0-9a-f]{12,64}"));
  EXPECT_THAT(sandbox_->MustHmvm({"ps"}), testing::AllOf(HasSubstr("web"), HasSubstr("busybox")));
  EXPECT_THAT(sandbox_->MustHmvm({"inspect", "web"}), HasSubstr(id));
  EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"logs", "web"}).out == "up\n"; }));

  sandbox_->MustHmvm({"stop", "web"});

  EXPECT_THAT(sandbox_->MustHmvm({"ps"}), Not(HasSubstr("web")));
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a"}), HasSubstr("web"));
  EXPECT_EQ(sandbox_->MustHmvm({"wait", "web"}), "9");
  EXPECT_EQ(sandbox_->MustHmvm({"logs", "web"}), "up");
  sandbox_->MustHmvm({"rm", "web"});
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a"}), Not(HasSubstr("web")));
}

TEST_F(LifecycleTest, StopKillsWhatDoesNotListen) {
  Start("deaf", {"sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"});
  ASSERT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"logs", "deaf"}).out == "up\n"; }));

  sandbox_->MustHmvm({"stop", "-t", "1", "deaf"});

  EXPECT_EQ(sandbox_->MustHmvm({"wait", "deaf"}), "137");
  sandbox_->MustHmvm({"rm", "deaf"});
}

TEST_F(LifecycleTest, KillSendsTheSignalNamed) {
  Start("listener", {"sh", "-c", "trap 'echo usr1; exit 4' USR1; echo up; while :; do sleep 0.1; done"});
  ASSERT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"logs", "listener"}).out == "up\n"; }));

  sandbox_->MustHmvm({"kill", "-s", "USR1", "listener"});

  EXPECT_EQ(sandbox_->MustHmvm({"wait", "listener"}), "4");
  EXPECT_EQ(sandbox_->MustHmvm({"logs", "listener"}), "up\nusr1");
  sandbox_->MustHmvm({"rm", "listener"});
}

TEST_F(LifecycleTest, KillWithoutASignalIsSigkill) {
  Start("victim", {"sleep", "100000"});

  sandbox_->MustHmvm({"kill", "victim"});

  EXPECT_EQ(sandbox_->MustHmvm({"wait", "victim"}), "137");
  EXPECT_NE(sandbox_->Hmvm({"kill", "victim"}).exit_code, 0) << "it has ended";
  sandbox_->MustHmvm({"rm", "victim"});
}

TEST_F(LifecycleTest, WaitEndsWithTheContainer) {
  Start("patient", {"sh", "-c", "while ! test -e /go; do sleep 0.1; done; exit 6"});
  Child wait(sandbox_->Command({"wait", "patient"}));
  EXPECT_TRUE(wait.Running());

  sandbox_->MustHmvm({"exec", "patient", "touch", "/go"});

  const Outcome outcome = wait.Wait();
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "6\n");
  sandbox_->MustHmvm({"rm", "patient"});
}

TEST_F(LifecycleTest, LogsFollowToTheEndAndShowTheTail) {
  Start("talker", {"sh", "-c", "seq 1 20; while ! test -e /go; do sleep 0.1; done; echo last; echo err >&2"});
  Child follow(sandbox_->Command({"logs", "-f", "talker"}));
  ASSERT_TRUE(follow.WaitForOutput("20\n"));

  sandbox_->MustHmvm({"exec", "talker", "touch", "/go"});
  const Outcome followed = follow.Wait();

  EXPECT_EQ(followed.exit_code, 0);
  EXPECT_THAT(followed.out, testing::EndsWith("20\nlast\n"));
  EXPECT_EQ(followed.err, "err\n");
  EXPECT_THAT(sandbox_->MustHmvm({"logs", "--tail", "3", "talker"}), HasSubstr("last"));
  EXPECT_THAT(sandbox_->MustHmvm({"logs", "--tail", "3", "talker"}), Not(HasSubstr("18")));
  sandbox_->MustHmvm({"rm", "talker"});
}

TEST_F(LifecycleTest, TwoContainersRunAtOnceAndKnowNothingOfEachOther) {
  Start("one", {"sleep", "100000"});
  Start("two", {"sleep", "100000"});

  sandbox_->MustHmvm({"exec", "one", "sh", "-c", "echo of one > /mark"});

  EXPECT_EQ(sandbox_->MustHmvm({"exec", "one", "cat", "/mark"}), "of one");
  EXPECT_NE(sandbox_->Hmvm({"exec", "two", "cat", "/mark"}).exit_code, 0);
  EXPECT_NE(sandbox_->MustHmvm({"exec", "one", "cat", "/proc/sys/kernel/random/boot_id"}),
            sandbox_->MustHmvm({"exec", "two", "cat", "/proc/sys/kernel/random/boot_id"}));
  const std::string list = sandbox_->MustHmvm({"ps"});
  EXPECT_THAT(list, testing::AllOf(HasSubstr("one"), HasSubstr("two")));
  sandbox_->MustHmvm({"rm", "-f", "one", "two"});
}

TEST_F(LifecycleTest, ANameIsTakenOnlyOnce) {
  Start("unique", {"sleep", "100000"});

  const Outcome outcome = sandbox_->Hmvm({"run", "-d", "--name", "unique", "busybox", "true"});

  EXPECT_EQ(outcome.exit_code, 125);
  EXPECT_THAT(outcome.err, HasSubstr("unique"));
  sandbox_->MustHmvm({"rm", "-f", "unique"});
}

TEST_F(LifecycleTest, ARunningContainerIsRemovedOnlyByForce) {
  Start("busy", {"sleep", "100000"});

  const Outcome outcome = sandbox_->Hmvm({"rm", "busy"});

  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, testing::AllOf(HasSubstr("busy"), HasSubstr("-f")));
  EXPECT_THAT(sandbox_->MustHmvm({"ps"}), HasSubstr("busy"));
  sandbox_->MustHmvm({"rm", "-f", "busy"});
}

TEST_F(LifecycleTest, AContainerThatEndedKeepsItsLogAndExitCodeUntilRemoved) {
  EXPECT_EQ(sandbox_->Hmvm({"run", "--name", "done", "busybox", "sh", "-c", "echo bye; exit 11"}).exit_code,
            11);

  EXPECT_EQ(sandbox_->MustHmvm({"logs", "done"}), "bye");
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a"}), HasSubstr("11"));
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a", "--format", "json"}), HasSubstr("done"));
  EXPECT_NE(sandbox_->Hmvm({"exec", "done", "true"}).exit_code, 0);
  sandbox_->MustHmvm({"rm", "done"});
}

TEST_F(LifecycleTest, RemoveAtExitLeavesNothing) {
  const std::string id = sandbox_->MustHmvm({"run", "-d", "--rm", "busybox", "true"});

  EXPECT_TRUE(WaitUntil([&] { return sandbox_->Hmvm({"inspect", id}).exit_code != 0; }));
  EXPECT_EQ(sandbox_->MustHmvm({"ps", "-a", "-q"}), "");
}

TEST_F(LifecycleTest, AContainerIsCreatedStartedAndStartedAgain) {
  sandbox_->MustHmvm(
      {"create", "-i", "--name", "again", "busybox", "sh", "-c", "cat; echo x >> /f; wc -l < /f"});
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-a"}), HasSubstr("Created"));

  EXPECT_EQ(sandbox_->Hmvm({"start", "-ai", "again"}, "one\n").out, "one\n1\n");
  EXPECT_EQ(sandbox_->Hmvm({"start", "-ai", "again"}, "two\n").out, "two\n1\n")
      << "the writable layer is in the guest's memory: it begins afresh";

  EXPECT_EQ(sandbox_->MustHmvm({"logs", "again"}), "one\n1\ntwo\n1");
  sandbox_->MustHmvm({"rm", "again"});
}

TEST_F(LifecycleTest, APausedContainerHoldsStillAndGoesOn) {
  Start("held", {"sh", "-c", "trap 'exit 9' TERM; while :; do echo x; sleep 0.02; done"});
  ASSERT_TRUE(WaitUntil([] { return !sandbox_->Hmvm({"logs", "held"}).out.empty(); }));

  sandbox_->MustHmvm({"pause", "held"});
  EXPECT_THAT(sandbox_->MustHmvm({"ps"}), HasSubstr("(paused)"));
  EXPECT_THAT(sandbox_->Hmvm({"exec", "held", "true"}).err, HasSubstr("is paused"));
  const std::string before = sandbox_->Hmvm({"logs", "held"}).out;
  EXPECT_THAT(sandbox_->MustHmvm({"stats", "--no-stream", "held"}), HasSubstr("--")) << "a second passes";
  EXPECT_EQ(sandbox_->Hmvm({"logs", "held"}).out, before);

  sandbox_->MustHmvm({"resume", "held"});
  EXPECT_TRUE(WaitUntil([&] { return sandbox_->Hmvm({"logs", "held"}).out.size() > before.size(); }));
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "held", "echo", "alive"}), "alive");
  sandbox_->MustHmvm({"pause", "held"});
  sandbox_->MustHmvm({"stop", "held"});
  EXPECT_EQ(sandbox_->MustHmvm({"wait", "held"}), "9") << "it went on to end in its own way";
  sandbox_->MustHmvm({"rm", "held"});
}

TEST_F(LifecycleTest, RestartBootsTheSameContainerAnew) {
  Start("anew", {"sleep", "100000"});
  const std::vector<std::string> boot_id = {"exec", "anew", "cat", "/proc/sys/kernel/random/boot_id"};
  const std::string first = sandbox_->MustHmvm(boot_id);

  sandbox_->MustHmvm({"restart", "-t", "0", "anew"});

  EXPECT_NE(sandbox_->MustHmvm(boot_id), first);
  sandbox_->MustHmvm({"rm", "-f", "anew"});
}

TEST_F(LifecycleTest, APolicyRestartsWhatEndsAndWhatIsKilled) {
  sandbox_->MustHmvm({"run", "-d", "--name", "stubborn", "--restart", "on-failure:2", "busybox", "sh", "-c",
                      "echo up; sleep 1; exit 5"});
  const std::vector<pid_t> vmms = FindProcesses("hmvm-vmm");
  ASSERT_EQ(vmms.size(), 1U);
  ::kill(vmms[0], SIGKILL);

  EXPECT_EQ(sandbox_->MustHmvm({"wait", "stubborn"}), "5");

  EXPECT_THAT(sandbox_->MustHmvm({"inspect", "stubborn"}), HasSubstr("\"restarts\": 2"));
  const std::string events = sandbox_->MustHmvm({"events", "--filter", "container=stubborn"});
  EXPECT_THAT(events, testing::AllOf(HasSubstr("\"restarting\""), HasSubstr("\"stopped\"")));
  sandbox_->MustHmvm({"rm", "stubborn"});
}

TEST_F(LifecycleTest, HealthIsProbedInTheGuest) {
  sandbox_->MustHmvm({"run", "-d", "--name", "well", "--health-cmd", "test -e /up || { echo no; false; }",
                      "--health-interval", "50ms", "--health-retries", "1", "busybox", "sleep", "100000"});
  EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps"}).out.find("(unhealthy)") != std::string::npos; }));
  EXPECT_THAT(sandbox_->MustHmvm({"inspect", "well"}), HasSubstr("\"output\": \"no\\n\""));

  sandbox_->MustHmvm({"exec", "well", "touch", "/up"});

  EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps"}).out.find("(healthy)") != std::string::npos; }));
  sandbox_->MustHmvm({"rm", "-f", "well"});
}

TEST_F(LifecycleTest, AHealthCheckThatHangsIsKilled) {
  sandbox_->MustHmvm({"run", "-d", "--name", "hung", "--health-cmd", "sleep 100000 & wait",
                      "--health-interval", "50ms", "--health-timeout", "100ms", "--health-retries", "1",
                      "busybox", "sleep", "100000"});
  EXPECT_TRUE(WaitUntil([] { return sandbox_->Hmvm({"ps"}).out.find("(unhealthy)") != std::string::npos; }));
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "hung", "echo", "alive"}), "alive");
  sandbox_->MustHmvm({"rm", "-f", "hung"});
}

TEST_F(LifecycleTest, StatsAndTopAskTheGuest) {
  Start("busy", {"sh", "-c", "sleep 100000 & while :; do :; done"});

  const std::string stats = sandbox_->MustHmvm({"stats", "--no-stream", "--format", "json", "busy"});
  const std::string top = sandbox_->MustHmvm({"top", "busy"});

  EXPECT_THAT(stats, testing::AllOf(HasSubstr("\"pids\":2"), HasSubstr("\"host_memory_bytes\""),
                                    Not(HasSubstr("\"memory_bytes\":0")), Not(HasSubstr("\"cpu_ns\":0,"))));
  EXPECT_THAT(top, testing::AllOf(HasSubstr("sh -c sleep 100000"), testing::EndsWith("sleep 100000")));
  sandbox_->MustHmvm({"rm", "-f", "busy"});
}

TEST_F(LifecycleTest, UnknownContainersAreNamed) {
  for (const char* command : {"logs", "stop", "kill", "rm", "wait", "inspect"}) {
    const Outcome outcome = sandbox_->Hmvm({command, "nobody-made-this"});
    EXPECT_NE(outcome.exit_code, 0) << command;
    EXPECT_THAT(outcome.err, HasSubstr("nobody-made-this")) << command;
  }
}

TEST_F(LifecycleTest, ImagesAreListedAndAnImageInUseStays) {
  EXPECT_THAT(sandbox_->MustHmvm({"images"}), HasSubstr("busybox"));
  EXPECT_THAT(sandbox_->MustHmvm({"images", "--format", "json"}), HasSubstr("sha256:"));
  Start("user", {"sleep", "100000"});

  const Outcome outcome = sandbox_->Hmvm({"image", "rm", "busybox"});

  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("busybox"));
  sandbox_->MustHmvm({"rm", "-f", "user"});
}

}  // namespace
}  // namespace hmvm::test
