// What `run` gives its user: output, exit code, input, signals, a terminal.
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

TEST_F(HmvmTest, RunGivesTheOutputAndTheExitCode) {
  EXPECT_EQ(Hmvm({"run", "--rm", "busybox", "echo", "hi"}).output, "hi\n");
  EXPECT_EQ(Hmvm({"run", "--rm", "busybox", "sh", "-c", "exit 42"}).exit_code, 42);
  EXPECT_EQ(Shell("$hmvm run --rm busybox sh -c 'echo out; echo err >&2' 2>/dev/null").output, "out\n");
  EXPECT_EQ(Shell("$hmvm run --rm busybox sh -c 'echo out; echo err >&2' 2>&1 >/dev/null").output, "err\n");
  EXPECT_EQ(Must({"ps", "-aq"}), "");
}

TEST_F(HmvmTest, ACommandThatCantRunIs127Or126AndLeavesNothing) {
  const CommandResult missing = Hmvm({"run", "busybox", "no-such-program"});
  EXPECT_EQ(missing.exit_code, 127);
  EXPECT_THAT(missing.output, HasSubstr("no-such-program"));
  EXPECT_EQ(Hmvm({"run", "busybox", "/etc/passwd"}).exit_code, 126);
  EXPECT_EQ(Must({"ps", "-aq"}), "");
}

TEST_F(HmvmTest, InputGoesInAndEnds) {
  EXPECT_EQ(Shell("seq 1 200000 | $hmvm run -i --rm busybox sha256sum").output,
            Shell("seq 1 200000 | sha256sum").output);
  EXPECT_EQ(Shell("echo text | $hmvm run --rm busybox cat").output, "") << "without -i";
  EXPECT_EQ(Shell("seq 1 2000000 | $hmvm run -i --rm busybox true").exit_code, 0) << "nobody reads";
}

TEST_F(HmvmTest, MuchOutputIsWholeInClientAndLog) {
  const std::string sum = Shell("seq 1 300000 | sha256sum").output;
  EXPECT_EQ(Shell("$hmvm run --name c busybox seq 1 300000 | sha256sum").output, sum);
  EXPECT_EQ(Shell("$hmvm logs c | sha256sum").output, sum);
  EXPECT_EQ(Must({"logs", "--tail", "2", "c"}), "299999\n300000\n");
}

TEST_F(HmvmTest, SignalsAreForwardedAndTheExitCodeComesBack) {
  const CommandResult result = Shell(
      "$hmvm run --name c busybox sh -c 'trap \"exit 7\" TERM; echo up; while :; do sleep 0.05; done' & "
      "pid=$!;"
      "until $hmvm logs c 2>/dev/null | grep -q up; do sleep 0.05; done; kill $pid; wait $pid");
  EXPECT_EQ(result.exit_code, 7) << result.output;
}

TEST_F(HmvmTest, ANameIsTakenOnlyOnce) {
  StartSleeper();
  const CommandResult second = Hmvm({"run", "--name", "c", "busybox", "true"});
  EXPECT_EQ(second.exit_code, 125);
  EXPECT_THAT(second.output, HasSubstr("'c' is taken"));
  EXPECT_EQ(Must({"ps", "-aq"}).size(), 13U);
}

TEST_F(HmvmTest, AnImageInUseStays) {
  StartSleeper();
  const CommandResult result = Hmvm({"image", "rm", "busybox"});
  EXPECT_EQ(result.exit_code, 125);
  EXPECT_THAT(result.output, HasSubstr("'c'"));
}

TEST_F(HmvmTest, AClientThatIsKilledLeavesTheContainerRunning) {
  Shell(
      "$hmvm run --name c busybox sh -c 'echo up; exec sleep 1000' >/dev/null & pid=$!;"
      "until $hmvm logs c 2>/dev/null | grep -q up; do sleep 0.05; done; kill -9 $pid; wait $pid");
  WaitUntilStarted();
  EXPECT_EQ(Inspect("c")["status"], "running");
  EXPECT_EQ(Must({"exec", "c", "echo", "alive"}), "alive\n");
}

TEST_F(HmvmTest, AReaderThatLeavesEndsTheClientOnly) {
  EXPECT_EQ(Shell("$hmvm run --name c busybox yes | head -n 1").output, "y\n");
  WaitUntilStarted();
  EXPECT_EQ(Inspect("c")["status"], "running");
}

TEST_F(HmvmTest, AContainerThatStopsIsNotHeldUpByAClientThatDoesNotRead) {
  const CommandResult result = Shell(
      "{ $hmvm run --name c busybox yes; } | { until $hmvm logs --tail 1 c 2>/dev/null | grep -q y; do sleep "
      "0.05; done;"
      "$hmvm stop -t 0 c >/dev/null; $hmvm wait c; }");
  EXPECT_EQ(result.output, "137\n");
}

// On a terminal of its own; reads until `text` has come, or the end.
class OnTerminal {
 public:
  explicit OnTerminal(const std::vector<std::string>& line) {
    std::vector<char*> argv;
    for (const std::string& word : line) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    int master = -1;
    pid_ = ::forkpty(&master, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    master_ = UniqueFd(master);
  }
  bool WaitFor(const std::string& text) {
    while (output_.find(text) == std::string::npos) {
      char chunk[4096];
      const ssize_t got = ::read(master_.get(), chunk, sizeof(chunk));
      if (got <= 0) return false;
      output_.append(chunk, static_cast<size_t>(got));
    }
    return true;
  }
  void Type(std::string_view keys) { ASSERT_TRUE(WriteAll(master_.get(), keys).has_value()); }
  int Wait() {
    WaitFor(std::string(1, '\0'));  // never comes: to the end
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd master_;
  std::string output_;
};

TEST_F(HmvmTest, DetachKeysLeaveTheContainerRunning) {
  OnTerminal terminal(
      Line({"run", "-it", "--name", "c", "busybox", "sh", "-c", "read line; echo got $line; cat"}));
  terminal.Type("it\n");
  ASSERT_TRUE(terminal.WaitFor("got it"));  // so the terminal is raw by now

  terminal.Type("\x10\x11");

  EXPECT_EQ(terminal.Wait(), 0);
  EXPECT_EQ(Inspect("c")["status"], "running");
}

TEST_F(HmvmTest, AHostNameThatIsTooLongIsRefusedBeforeTheGuestBoots) {
  const CommandResult result = Hmvm({"run", "--hostname", std::string(65, 'h'), "busybox", "true"});
  EXPECT_EQ(result.exit_code, 125);
  EXPECT_THAT(result.output, HasSubstr("--hostname"));
}

TEST_F(HmvmTest, ATerminalThatIsAskedForMustBeThere) {
  const CommandResult result = Hmvm({"run", "-it", "busybox", "sh"});
  EXPECT_EQ(result.exit_code, 125);
  EXPECT_THAT(result.output, HasSubstr("terminal"));
}

}  // namespace
}  // namespace hmvm
