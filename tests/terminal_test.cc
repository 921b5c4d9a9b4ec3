// hmvm with a terminal, driven through a pty as a person drives it.
#include <termios.h>
#include <unistd.h>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;

constexpr char kCtrlC = '\x03';
constexpr const char* kDetach = "\x10\x11";  // Ctrl-P Ctrl-Q

// `hmvm ARGUMENTS` on a terminal of its own.
class TerminalTest : public ContainerTest {
 protected:
  static Child OnTerminal(const std::vector<std::string>& arguments, Child::Window window = {24, 80}) {
    return Child(sandbox_->Command(arguments), Child::Io::kTerminal, window);
  }
};

TEST_F(TerminalTest, TheCommandHasATerminal) {
  Child child = OnTerminal(
      {"exec", "-it", "shared", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; echo TERM=$TERM"});

  const Outcome outcome = child.Wait();

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(outcome.out, HasSubstr("/dev/pts/"));
  EXPECT_THAT(outcome.out, HasSubstr("TERM=xterm"));
}

TEST_F(TerminalTest, RunHasATerminalAsConsole) {
  Child child = OnTerminal(
      {"run", "--rm", "-it", "busybox", "sh", "-c", "tty; stty size; test -c /dev/console; exit 5"},
      {33, 101});

  const Outcome outcome = child.Wait();

  EXPECT_EQ(outcome.exit_code, 5) << Describe(outcome);
  EXPECT_THAT(outcome.out, HasSubstr("33 101"));
}

TEST_F(TerminalTest, WindowSizeIsPassedAndFollowed) {
  Child child =
      OnTerminal({"exec", "-it", "shared", "sh", "-c",
                  "trap 'stty size; exit 0' WINCH; stty size; echo ready; while :; do sleep 0.1; done"},
                 {40, 123});
  ASSERT_TRUE(child.WaitForOutput("40 123"));
  ASSERT_TRUE(child.WaitForOutput("ready"));

  child.Resize({51, 77});

  EXPECT_TRUE(child.WaitForOutput("51 77"));
  EXPECT_EQ(child.Wait().exit_code, 0);
}

TEST_F(TerminalTest, InputIsEditedByTheGuestsTerminal) {
  Child child = OnTerminal({"exec", "-it", "shared", "sh", "-c", "echo ready; read line; echo got $line"});
  ASSERT_TRUE(child.WaitForOutput("ready"));

  child.Send("wrong\x15right\r");  // Ctrl-U

  EXPECT_TRUE(child.WaitForOutput("got right\r\n"));
  EXPECT_EQ(child.Wait().exit_code, 0);
}

TEST_F(TerminalTest, ControlCInterruptsTheForegroundProcess) {
  Child child = OnTerminal({"exec", "-it", "shared", "sh", "-c", "echo ready; exec sleep 100000"});
  ASSERT_TRUE(child.WaitForOutput("ready"));

  child.Send(std::string(1, kCtrlC));

  EXPECT_EQ(child.Wait().exit_code, 130);
}

TEST_F(TerminalTest, ControlDEndsAShell) {
  Child child = OnTerminal({"exec", "-it", "shared", "sh"});
  child.Send("echo $((6 * 7))\r");
  // While it edits a line: in between the terminal takes the key, and the shell never sees it.
  ASSERT_TRUE(child.WaitForOutput("42\r\n/ # "));

  child.Send("\x04");

  EXPECT_EQ(child.Wait().exit_code, 0);
}

TEST_F(TerminalTest, TheCallersTerminalIsLeftAsItWas) {
  // stty runs on the same terminal after hmvm, and prints what hmvm left.
  std::string line;
  for (const std::string& word : sandbox_->Command({"exec", "-it", "shared", "true"}))
    line += "'" + word + "' ";
  Child child({"sh", "-c", "stty -g; " + line + "; stty -g"}, Child::Io::kTerminal);

  const Outcome outcome = child.Wait();

  EXPECT_EQ(outcome.exit_code, 0);
  const size_t end = outcome.out.find("\r\n");
  ASSERT_NE(end, std::string::npos);
  const std::string before = outcome.out.substr(0, end);
  EXPECT_EQ(outcome.out, before + "\r\n" + before + "\r\n");
}

TEST_F(TerminalTest, DetachKeysLeaveTheContainerRunning) {
  Child child = OnTerminal({"run", "-it", "--name", "detached", "busybox"});
  child.Send("echo prompt is $((40 + 2))\r");
  ASSERT_TRUE(child.WaitForOutput("prompt is 42"));

  child.Send(kDetach);
  const Outcome outcome = child.Wait();

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(sandbox_->MustHmvm({"ps"}), HasSubstr("detached"));
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "detached", "echo", "alive"}), "alive");
  sandbox_->MustHmvm({"rm", "-f", "detached"});
}

TEST_F(TerminalTest, AskingForATerminalWithoutHavingOneIsRefused) {
  const Outcome outcome = ExecWith({"-it"}, {"true"});

  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("terminal"));
}

}  // namespace
}  // namespace hmvm::test
