// `hmvm run`: each test boots a guest of its own, for what is decided when a container is made.
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;
using RunTest = GuestTest;

TEST_F(RunTest, OutputAndErrorArriveApartAndTheExitCodeIsTheCommands) {
  const Outcome outcome = RunContainer({}, {"sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"});

  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(outcome.out, "to stdout\n");
  EXPECT_EQ(outcome.err, "to stderr\n");
  EXPECT_THAT(sandbox_->Leftovers(), testing::IsEmpty());
}

TEST_F(RunTest, TheKernelIsTheGuestsOwn) {
  utsname host;
  ASSERT_EQ(::uname(&host), 0);

  const Outcome outcome = RunContainer({}, {"uname", "-rv"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(outcome.out, testing::Not(HasSubstr(host.release)));
  EXPECT_THAT(outcome.out, HasSubstr("6."));
}

TEST_F(RunTest, ACommandThatIsNotThereIs127) {
  const Outcome outcome = RunContainer({}, {"no-such-program"});

  EXPECT_EQ(outcome.exit_code, 127);
  EXPECT_THAT(outcome.err, HasSubstr("no-such-program"));
  EXPECT_THAT(sandbox_->Leftovers(), testing::IsEmpty());
}

TEST_F(RunTest, ACommandThatCantBeExecutedIs126) {
  const Outcome outcome = RunContainer({}, {"/etc/passwd"});

  EXPECT_EQ(outcome.exit_code, 126);
  EXPECT_THAT(outcome.err, HasSubstr("/etc/passwd"));
}

TEST_F(RunTest, AnOptionThatIsUnknownIs125) {
  const Outcome outcome = RunContainer({"--no-such-option"}, {"true"});

  EXPECT_EQ(outcome.exit_code, 125);
  EXPECT_THAT(outcome.err, HasSubstr("--no-such-option"));
}

TEST_F(RunTest, ASignalThatEndsTheCommandIs128AndItsNumber) {
  // Not the container's first process itself: as pid 1 of its namespace it does not get its own SIGKILL.
  const Outcome outcome = RunContainer({}, {"sh", "-c", "sh -c 'kill -9 $$'; exit $?"});

  EXPECT_EQ(outcome.exit_code, 137) << Describe(outcome);
}

TEST_F(RunTest, SignalsAreForwardedToTheCommand) {
  Child child(
      sandbox_->Command({"run", "--rm", "busybox", "sh", "-c",
                         "trap 'echo got term; exit 7' TERM; echo ready; while :; do sleep 1; done"}));
  ASSERT_TRUE(child.WaitForOutput("ready\n"));

  child.Signal(SIGTERM);
  const Outcome outcome = child.Wait();

  EXPECT_EQ(outcome.exit_code, 7) << Describe(outcome);
  EXPECT_THAT(outcome.out, HasSubstr("got term\n"));
}

TEST_F(RunTest, WithoutInteractiveStandardInputIsEmpty) {
  const Outcome outcome = RunContainer({}, {"cat"}, "not for the container\n");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "");
}

TEST_F(RunTest, InteractiveStandardInputGoesThroughToItsEnd) {
  const Outcome outcome = RunContainer({"-i"}, {"cat"}, "first\nsecond without newline");

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "first\nsecond without newline");
}

TEST_F(RunTest, OptionsShapeTheProcess) {
  const std::filesystem::path env_file = sandbox_->dir() / "env";
  std::ofstream(env_file) << "# a comment\nFROM_FILE=file value\nBOTH=file\nFROM_HOST\n";
  ::setenv("FROM_HOST", "host value", 1);

  const Outcome outcome = RunContainer(
      {"--env-file", env_file, "-e", "BOTH=option", "-e", "EMPTY=", "-e", "FROM_HOST", "-w", "/var/made/here",
       "-u", "daemon:nogroup", "--hostname", "judge"},
      {"sh", "-c",
       "echo $FROM_FILE,$BOTH,${EMPTY-unset},$FROM_HOST; pwd; id -u; id -g; hostname; cat /etc/hostname"});

  ::unsetenv("FROM_HOST");
  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "file value,option,,host value\n/var/made/here\n1\n65534\njudge\njudge\n");
}

TEST_F(RunTest, AnUnknownUserIsNamed) {
  const Outcome outcome = RunContainer({"-u", "nosuchuser"}, {"true"});

  EXPECT_EQ(outcome.exit_code, 126) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("nosuchuser"));
}

TEST_F(RunTest, TheEntrypointTakesTheArguments) {
  const Outcome outcome = RunContainer({"--entrypoint", "/bin/echo"}, {"one", "two words"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "one two words\n");
}

TEST_F(RunTest, AReadOnlyRootRefusesWritesAndItsTemporaryFileSystemsDoNot) {
  const Outcome outcome = RunContainer(
      {"--read-only"}, {"sh", "-c", "touch /file 2>&1; touch /dev/shm/file && echo shm is writable"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(outcome.out, HasSubstr("Read-only file system"));
  EXPECT_THAT(outcome.out, HasSubstr("shm is writable"));
}

// A guest sees a little less than it was given: its kernel takes a share.
class MemorySizeTest : public GuestTest,
                       public testing::WithParamInterface<std::pair<const char*, int64_t>> {};
TEST_P(MemorySizeTest, IsWhatWasAskedFor) {
  const auto [size, given_kib] = GetParam();

  const Outcome outcome =
      RunContainer({"-m", size}, {"sh", "-c", "grep MemTotal /proc/meminfo | tr -dc 0-9"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  const int64_t seen_kib = std::atoll(outcome.out.c_str());
  EXPECT_LE(seen_kib, given_kib);
  EXPECT_GE(seen_kib, given_kib * 3 / 4);
}
INSTANTIATE_TEST_SUITE_P(Sizes, MemorySizeTest,
                         testing::Values(std::pair("128m", 128 << 10), std::pair("512m", 512 << 10),
                                         std::pair("5g", 5 << 20)),
                         [](const auto& info) { return std::string(info.param.first); });

// The hole below 4 GiB splits the guest's memory, here 3 GiB to 512 MiB: a buffer larger than the smaller
// part lies in both.
TEST_F(RunTest, MemoryOnBothSidesOfTheHoleIsUsable) {
  const Outcome outcome = RunContainer(
      {"-m", "3584m"}, {"sh", "-c", "dd if=/dev/zero bs=700M count=1 2>/dev/null | tail -c 3 | wc -c"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "3\n");
}

TEST_F(RunTest, MoreMemoryThanTheGuestHasEndsTheCommandAndNotTheGuest) {
  const Outcome outcome = RunContainer({"-m", "128m"}, {"sh", "-c", "tail /dev/zero; echo ended by $?"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "ended by 137\n");
}

TEST_F(RunTest, AFullRootIsAnErrorOfTheWriter) {
  const Outcome outcome = RunContainer(
      {"-m", "128m"}, {"sh", "-c", "dd if=/dev/zero of=/big bs=1M count=500; rm /big; echo alive"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("No space left on device"));
  EXPECT_EQ(outcome.out, "alive\n");
}

TEST_F(RunTest, ClosedStandardStreamsDoNotGoToOtherFiles) {
  std::string line;
  for (const std::string& word : sandbox_->Command({"run", "--rm", "-i", "busybox", "sh", "-c"}))
    line += "'" + word + "' ";

  const Outcome outcome =
      RunProgram({"sh", "-c", line + " 'cat; echo lost; echo lost >&2; exit 3' <&- >&- 2>&-"});

  EXPECT_EQ(outcome.exit_code, 3) << Describe(outcome);
}

TEST_F(RunTest, WhatAContainerWritesIsGoneInTheNext) {
  EXPECT_EQ(RunContainer({}, {"sh", "-c", "echo mark > /mark && cat /mark"}).out, "mark\n");

  EXPECT_EQ(RunContainer({}, {"sh", "-c", "cat /mark 2>/dev/null || echo no mark"}).out, "no mark\n");
}

}  // namespace
}  // namespace hmvm::test
