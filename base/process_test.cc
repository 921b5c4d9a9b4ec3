#include "base/process.h"

#include <signal.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

TEST(ProcessTest, MissingProgramIsAnErrorOfStart) {
  const auto process = Process::Start({.arguments = {"/no/such/program"}});

  ASSERT_FALSE(process.has_value());
  EXPECT_EQ(process.error().code, ENOENT);
}

TEST(ProcessTest, DescriptorsArriveAtTheirNumbersEvenWhenTheSetsOverlap) {
  Pipe pipe = MakePipe().value();
  const int read_end = pipe.read.get();
  const int write_end = pipe.write.get();

  // The two ends swap numbers in the child.
  auto process = Process::Start({.arguments = {"/bin/sh", "-c", "echo hello >&" + std::to_string(read_end)},
                                 .fds = {{read_end, write_end}, {write_end, read_end}}});
  ASSERT_TRUE(process.has_value());
  pipe.write.reset();
  char text[16] = {};
  ASSERT_TRUE(ReadFull(read_end, std::as_writable_bytes(std::span(text))).has_value());

  EXPECT_STREQ(text, "hello\n");
  EXPECT_EQ(process->Wait().value(), 0);
}

TEST(ProcessTest, SignalEndsTheProcess) {
  auto process = Process::Start({.arguments = {"/bin/sleep", "1000"}});
  ASSERT_TRUE(process.has_value());

  ASSERT_TRUE(process->Signal(SIGTERM).has_value());

  EXPECT_EQ(WTERMSIG(process->Wait().value()), SIGTERM);
}

TEST(RunCommandTest, OutputAndExitCodeAreReturned) {
  const auto result = RunCommand({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"});

  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\nerr\n");
}

}  // namespace
}  // namespace hmvm
