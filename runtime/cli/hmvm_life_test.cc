// How containers are started, held, stopped, and started again.
#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

TEST_F(HmvmTest, TheLifeOfADetachedContainer) {
  const std::string id = Must({"run", "-d", "--name", "c", "busybox", "sh", "-c",
                               "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"});
  EXPECT_EQ(id.size(), 65U);
  EXPECT_THAT(Must({"ps"}), HasSubstr("Up "));
  EXPECT_EQ(Must({"exec", "c", "echo", "exec"}), "exec\n");
  EXPECT_EQ(Hmvm({"exec", "c", "sh", "-c", "exit 3"}).exit_code, 3);
  EXPECT_EQ(Hmvm({"exec", "c", "no-such-program"}).exit_code, 127);
  EXPECT_EQ(Shell("echo in | $hmvm exec -i c cat").output, "in\n");
  EXPECT_NE(Hmvm({"rm", "c"}).exit_code, 0) << "it runs";
  EXPECT_EQ(Inspect("c")["status"], "running");
  EXPECT_EQ(Inspect("c")["counters"]["exits.of_a_fake"], 7);

  Must({"stop", "c"});

  EXPECT_EQ(Must({"wait", "c"}), "9\n");
  EXPECT_EQ(Must({"logs", "c"}), "up\nbye\n");
  EXPECT_EQ(Must({"ps", "-q"}), "");
  EXPECT_THAT(Must({"ps", "-a"}), HasSubstr("Exited (9)"));
  EXPECT_NE(Hmvm({"exec", "c", "true"}).exit_code, 0);
  EXPECT_NE(Hmvm({"kill", "c"}).exit_code, 0);
  std::vector<std::string> events;
  const nlohmann::json ended = Inspect("c");
  for (const auto& event : ended["events"]) events.push_back(event["status"]);
  EXPECT_THAT(events, testing::ElementsAre("created", "starting", "running", "stopping", "stopped"));
  EXPECT_TRUE(ended["counters"].empty());
  Must({"rm", "c"});
}

TEST_F(HmvmTest, StopKillsWhatDoesNotListen) {
  Must({"run", "-d", "--name", "c", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"});
  Must({"stop", "-t", "0", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "137\n");
}

TEST_F(HmvmTest, KillSendsASignalToTheFirstProcess) {
  Must({"run", "-d", "--name", "c", "busybox", "sh", "-c",
        "trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done"});
  Shell("until $hmvm logs c | grep -q up; do sleep 0.05; done");
  Must({"kill", "-s", "USR1", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "4\n");
}

TEST_F(HmvmTest, WhatIsKilledCanBeStartedOrRemovedAtOnce) {
  StartSleeper();
  for (int round = 0; round < 5; ++round) {
    Must({"kill", "c"});
    Must({"start", "c"});
  }
  Must({"kill", "c"});
  Must({"rm", "c"});
}

TEST_F(HmvmTest, AContainerIsCreatedStartedAndStartedAgain) {
  const std::string id = Must({"create", "--name", "c", "busybox", "sh", "-c", "echo up; exit 3"});
  EXPECT_EQ(id.size(), 65U);
  EXPECT_EQ(Inspect("c")["status"], "created");
  EXPECT_EQ(Must({"ps", "-q"}), "");
  EXPECT_EQ(Must({"wait", "c"}), "0\n") << "it does not run";

  EXPECT_EQ(Must({"start", "c"}), "c\n");
  EXPECT_EQ(Must({"wait", "c"}), "3\n");
  const CommandResult again = Hmvm({"start", "-a", "c"});
  EXPECT_EQ(again.exit_code, 3);
  EXPECT_EQ(again.output, "up\n");
  EXPECT_EQ(Must({"logs", "c"}), "up\nup\n");
  EXPECT_EQ(Statuses("c"), "created starting running stopped starting running stopped");
}

TEST_F(HmvmTest, StartTakesInputAndLeavesWhatItCantStart) {
  Must({"create", "-i", "--name", "c", "busybox", "cat"});
  EXPECT_EQ(Shell("echo text | $hmvm start -i c").output, "text\n");
  EXPECT_EQ(Hmvm({"start", "-a", "c", "d"}).exit_code, 125) << "one at a time";

  Must({"create", "--name", "bad", "busybox", "no-such-program"});
  const CommandResult refused = Hmvm({"start", "bad"});
  EXPECT_EQ(refused.exit_code, 127);
  EXPECT_THAT(refused.output, HasSubstr("no-such-program"));
  EXPECT_EQ(Inspect("bad")["status"], "failed") << "it was not made by this command";
}

TEST_F(HmvmTest, TwoStartsAtOnceStartOnce) {
  Must({"create", "--name", "c", "busybox", "sleep", "1000"});
  Shell("for i in 1 2 3 4; do $hmvm start c & done; wait");
  EXPECT_EQ(Statuses("c"), "created starting running");
  EXPECT_EQ(Must({"start", "c"}), "c\n") << "it runs: as it should be";
}

TEST_F(HmvmTest, APausedContainerHoldsStillUntilItIsResumed) {
  Must({"run", "-d", "--name", "c", "busybox", "sh", "-c", "while :; do echo x; sleep 0.01; done"});
  EXPECT_EQ(Must({"pause", "c"}), "c\n");
  EXPECT_THAT(Must({"ps"}), HasSubstr("(paused)"));
  EXPECT_THAT(Hmvm({"exec", "c", "true"}).output, HasSubstr("'c' is paused; `hmvm resume c` first"));
  EXPECT_EQ(Hmvm({"kill", "-s", "USR1", "c"}).output,
            "hmvm: container 'c' is paused; `hmvm resume c` first\n");
  EXPECT_THAT(Hmvm({"pause", "c"}).output, HasSubstr("is paused already"));
  EXPECT_THAT(Hmvm({"start", "c"}).output, HasSubstr("resume it instead"));
  const std::string held = Shell("sleep 0.1; $hmvm logs c | wc -l").output;
  EXPECT_EQ(Shell("sleep 0.2; $hmvm logs c | wc -l").output, held);

  EXPECT_EQ(Must({"unpause", "c"}), "c\n");

  EXPECT_EQ(Must({"exec", "c", "echo", "alive"}), "alive\n");
  EXPECT_THAT(Hmvm({"resume", "c"}).output, HasSubstr("is not paused, it is running"));
  Shell("until [ $($hmvm logs c | wc -l) -gt " + held.substr(0, held.size() - 1) + " ]; do sleep 0.01; done");
  EXPECT_EQ(Statuses("c"), "created starting running pausing paused resuming running");
}

TEST_F(HmvmTest, APausedContainerCanBeStoppedAndKilled) {
  Must({"run", "-d", "--name", "c", "busybox", "sh", "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done"});
  Shell("until $hmvm logs c | grep -q up; do sleep 0.01; done");
  Must({"pause", "c"});
  Must({"stop", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "9\n");
  Must({"start", "c"});
  Must({"pause", "c"});
  Must({"kill", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "137\n");
  EXPECT_THAT(Hmvm({"pause", "c"}).output, HasSubstr("is not running, it is stopped"));
}

TEST_F(HmvmTest, RestartStopsAndStarts) {
  Must({"run", "-d", "--name", "c", "busybox", "sleep", "1000"});
  EXPECT_EQ(Must({"restart", "-t", "0", "c"}), "c\n");
  EXPECT_EQ(Statuses("c"), "created starting running stopping stopped starting running");
  Must({"stop", "-t", "0", "c"});
  Must({"restart", "c"});
  EXPECT_EQ(Inspect("c")["status"], "running");
}

TEST_F(HmvmTest, TheStopSignalIsTheOneChosen) {
  Must({"run", "-d", "--name", "c", "--stop-signal", "USR1", "busybox", "sh", "-c",
        "trap 'exit 4' USR1; echo up; while :; do sleep 0.01; done"});
  Shell("until $hmvm logs c | grep -q up; do sleep 0.01; done");
  Must({"stop", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "4\n");
}

TEST_F(HmvmTest, APolicyRestartsUntilItsCountIsUp) {
  const CommandResult first =
      Hmvm({"run", "--name", "c", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo up; exit 5"});
  EXPECT_EQ(first.exit_code, 5) << "the client goes with the first run";
  EXPECT_EQ(first.output, "up\n");
  EXPECT_EQ(Must({"wait", "c"}), "5\n");
  EXPECT_EQ(Must({"logs", "c"}), "up\nup\nup\n");
  EXPECT_EQ(Inspect("c")["restarts"], 2);
  EXPECT_EQ(Statuses("c"),
            "created starting running restarting starting running restarting starting running stopped");
  Must({"run", "-d", "--name", "good", "--restart", "on-failure", "busybox", "true"});
  EXPECT_EQ(Must({"wait", "good"}), "0\n");
}

TEST_F(HmvmTest, WhatIsAlwaysRestartedStopsWhenItIsTold) {
  Must({"run", "-d", "--name", "c", "--restart", "always", "busybox", "true"});
  Shell("until $hmvm inspect c | grep -q '\"restarts\": [4-9]'; do sleep 0.05; done");
  Shell("until $hmvm ps | grep -q Restarting; do sleep 0.01; done");
  EXPECT_THAT(Hmvm({"exec", "c", "true"}).output, HasSubstr("restarting"));
  EXPECT_EQ(Hmvm({"start", "c"}).output, "hmvm: container 'c' is restarting already\n");
  Must({"stop", "c"});
  EXPECT_EQ(Inspect("c")["status"], "stopped");
  EXPECT_EQ(Must({"ps", "-q"}), "");
}

TEST_F(HmvmTest, AMachineThatDiesIsRestartedToo) {
  Must({"run", "-d", "--name", "c", "--restart", "unless-stopped", "busybox", "sleep", "1000"});
  ::kill(Inspect("c")["vmm_pid"], SIGKILL);
  Shell("until $hmvm inspect c | grep -q '\"restarts\": 1'; do sleep 0.01; done");
  Shell("until $hmvm inspect c | grep -q '\"status\": \"running\"'; do sleep 0.01; done");
  Must({"kill", "c"});
  EXPECT_EQ(Must({"wait", "c"}), "137\n") << "SIGKILL by a user is an end";
  EXPECT_EQ(Inspect("c")["status"], "stopped");
}

// Whoever holds the lock of the event log holds `start` up right after it has claimed the container: nobody
// listens yet.
const std::string kStartHeldUp =
    "set -- $hmvm; exec 9< $3/events; flock 9; $hmvm start c 9<&- & start=$!;"
    "until $hmvm inspect c | grep -q '^    \"status\": \"starting\"'; do sleep 0.01; done; ";

TEST_F(HmvmTest, StopOfWhatHasJustBeenClaimedStopsIt) {
  Must({"create", "--name", "c", "busybox", "sleep", "1000"});
  const CommandResult stopped = Shell(kStartHeldUp +
                                      "$hmvm stop -t 0 c 9<&- & stop=$!;"
                                      "sleep 0.3; exec 9<&-; wait $start; wait $stop");
  EXPECT_EQ(stopped.exit_code, 0) << stopped.output;
  EXPECT_EQ(Inspect("c")["status"], "stopped");
}

TEST_F(HmvmTest, WaitForWhatHasJustBeenClaimedWaits) {
  Must({"create", "--name", "c", "busybox", "sh", "-c", "sleep 0.5; exit 7"});
  const CommandResult waited = Shell(kStartHeldUp +
                                     "$hmvm wait c 9<&- & wait=$!;"
                                     "sleep 0.3; exec 9<&-; wait $start; wait $wait");
  EXPECT_THAT(waited.output, HasSubstr("7\n"));
}

TEST_F(HmvmTest, FollowingLogsSleepsAlsoWhenWhoStartedTheContainerHasLeft) {
  Must({"run", "--name", "c", "busybox", "sleep", "1"});  // makes the log
  const CommandResult followed = Shell(kStartHeldUp +
                                       "$hmvm logs -f c 9<&- & logs=$!; sleep 0.3; exec 9<&-; wait $start;"
                                       "sleep 0.2; for i in 1 2 3 4 5; do"
                                       "  sleep 0.05; cut -d' ' -f3 /proc/$logs/stat; done;"
                                       "wait $logs");
  EXPECT_EQ(followed.output, "c\nS\nS\nS\nS\nS\n");
}

TEST_F(HmvmTest, WhatAStoppedContainerWasAskedOfIsAnError) {
  for (const char* command : {"logs", "stop", "kill", "rm", "wait", "inspect"}) {
    const CommandResult result = Hmvm({command, "nobody"});
    EXPECT_EQ(result.exit_code, 125) << command;
    EXPECT_THAT(result.output, HasSubstr("nobody")) << command;
  }
}

}  // namespace
}  // namespace hmvm
