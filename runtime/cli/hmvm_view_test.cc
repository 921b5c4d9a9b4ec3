// What is shown of containers: events, health, stats, logs.
#include <signal.h>

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

TEST_F(HmvmTest, EventsTellWhatHappened) {
  StartSleeper();
  Must({"rm", "-f", "c"});
  Must({"create", "--name", "other", "busybox", "sh", "-c", "exit 3"});
  EXPECT_EQ(Hmvm({"start", "-a", "other"}).exit_code, 3);
  std::string actions;
  uint64_t last_ns = 0;
  std::istringstream lines(
      Must({"events", "--since", "1h", "--filter", "container=c", "--filter", "container=other"}));
  for (std::string line; std::getline(lines, line);) {
    const auto event = nlohmann::json::parse(line);
    actions += event["name"].get<std::string>() + ":" + event["action"].get<std::string>() + " ";
    EXPECT_GE(event["monotonic_ns"].get<uint64_t>(), last_ns);
    last_ns = event["monotonic_ns"];
  }
  EXPECT_THAT(actions, testing::EndsWith("c:created c:starting c:running c:stopping c:stopped c:removed "
                                         "other:created other:starting other:running other:stopped "));
  EXPECT_THAT(Must({"events", "--filter", "event=stopped", "--filter", "container=other"}),
              HasSubstr("\"exit_code\":\"3\""));
  EXPECT_EQ(Must({"events", "--since", "2100-01-01T00:00:00Z"}), "");
}

TEST_F(HmvmTest, EventsAreFollowed) {
  const CommandResult followed = Shell(
      "$hmvm events -f --filter container=followed | head -n 5 & $hmvm run --rm --name followed busybox "
      "true; "
      "$hmvm run --rm --name followed busybox true; wait");
  EXPECT_THAT(followed.output, testing::AllOf(HasSubstr("\"created\""), HasSubstr("\"removed\"")));
}

TEST_F(HmvmTest, HealthFollowsTheCheck) {
  const std::string flag = dir_ / "up";
  Must({"run", "-d", "--name", "c", "--health-cmd", "echo looking; test -e " + flag, "--health-interval",
        "20ms", "--health-retries", "2", "busybox", "sleep", "1000"});
  EXPECT_THAT(Must({"ps"}), testing::AnyOf(HasSubstr("(health: starting)"), HasSubstr("(unhealthy)")));
  Shell("until $hmvm ps | grep -q '(unhealthy)'; do sleep 0.02; done");
  const nlohmann::json health = Inspect("c")["health"];
  EXPECT_GE(health["failures"], 2);
  EXPECT_EQ(health["last"][0]["output"], "looking\n");

  std::ofstream(flag).close();
  Shell("until $hmvm ps | grep -q '(healthy)'; do sleep 0.02; done");
  fs::remove(flag);
  Must({"stop", "-t", "0", "c"});

  EXPECT_THAT(Must({"events", "--filter", "container=c", "--filter", "event=health_status"}),
              testing::AllOf(HasSubstr("\"health\":\"unhealthy\""), HasSubstr("\"health\":\"healthy\"")));
}

TEST_F(HmvmTest, AProbeThatTheMachineDoesNotAnswerDoesNotHoldUpTheEnd) {
  Must({"run", "-d", "--name", "c", "--health-cmd", "true", "--health-interval", "20ms", "busybox", "sleep",
        "1000"});
  ASSERT_EQ(::kill(Inspect("c")["vmm_pid"], SIGSTOP), 0);
  // Nearly always the next probe connects and is not accepted: such a socket has no inode yet.
  Shell("for i in $(seq 50); do grep -qE ' 0 .*/vsock.sock' /proc/net/unix && break; sleep 0.02; done");

  Must({"stop", "-t", "0", "c"});

  EXPECT_EQ(Inspect("c")["status"], "stopped");
}

TEST_F(HmvmTest, AHealthCheckThatTakesTooLongHasFailed) {
  Must({"run", "-d", "--name", "c", "--health-cmd", "exec sleep 1000", "--health-interval", "20ms",
        "--health-timeout", "50ms", "--health-retries", "1", "busybox", "sleep", "1000"});
  Shell("until $hmvm ps | grep -q '(unhealthy)'; do sleep 0.02; done");
  EXPECT_THAT(Inspect("c")["health"]["last"][0]["output"].get<std::string>(), HasSubstr("longer than 50 ms"));
  EXPECT_EQ(Inspect("c")["health"]["last"][0]["exit_code"], -1);
}

TEST_F(HmvmTest, StatsAndTopShowWhatTheGuestSays) {
  StartSleeper();
  EXPECT_THAT(Must({"stats", "--no-stream"}),
              testing::AllOf(HasSubstr("3 MiB / 12 MiB"), HasSubstr("25.00%")));
  const auto line = nlohmann::json::parse(Must({"stats", "--no-stream", "--format", "json", "c"}));
  EXPECT_EQ(line["pids"], 5);
  EXPECT_GT(line["host_memory_bytes"], 0);
  EXPECT_THAT(Must({"top", "c"}),
              testing::AllOf(HasSubstr("01:02:03"), HasSubstr("evil "), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(nlohmann::json::parse(Must({"top", "--format", "json", "c"}))[0]["pid"], 1);

  Must({"pause", "c"});
  EXPECT_THAT(Must({"stats", "--no-stream", "c"}), HasSubstr("--"));
  EXPECT_THAT(Hmvm({"top", "c"}).output, HasSubstr("is paused"));
  Must({"kill", "c"});
  Must({"wait", "c"});
  EXPECT_THAT(Hmvm({"stats", "--no-stream", "c"}).output, HasSubstr("not running"));
}

TEST_F(HmvmTest, LogsFollowToTheEnd) {
  Must({"run", "-d", "--name", "c", "busybox", "sh", "-c",
        "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done"});
  EXPECT_EQ(Must({"logs", "-f", "c"}), "1\n2\n3\n4\n5\n");
}

}  // namespace
}  // namespace hmvm
