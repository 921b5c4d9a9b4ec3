// Much data through the standard streams arrives byte for byte.
#include <cstdint>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using StreamTest = ContainerTest;

// Bytes without a period that a lost or doubled buffer could hide in.
std::string Noise(size_t size_bytes) {
  std::string bytes(size_bytes, '\0');
  uint64_t state = 88172645463325252;  // xorshift64
  for (char& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state);
  }
  return bytes;
}

std::string HostSha256(const std::string& bytes) {
  return RunProgram({"sha256sum"}, bytes).out.substr(0, 64);
}

TEST_F(StreamTest, OneHundredMegabytesComeOut) {
  const std::string sum =
      Shell("head -c 10000000 /dev/urandom > /dev/shm/noise; sha256sum < /dev/shm/noise").substr(0, 64);

  const Outcome outcome = Exec({"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do cat /dev/shm/noise; done"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  ASSERT_EQ(outcome.out.size(), 100'000'000u);
  const std::string first = outcome.out.substr(0, 10'000'000);
  EXPECT_EQ(HostSha256(first), sum);
  for (size_t i = 1; i < 10; ++i) {
    EXPECT_EQ(outcome.out.compare(i * first.size(), first.size(), first), 0) << "part " << i;
  }
  Shell("rm /dev/shm/noise");
}

TEST_F(StreamTest, FiftyMegabytesGoIn) {
  const std::string noise = Noise(50'000'000);

  const Outcome outcome = ExecWith({"-i"}, {"sha256sum"}, noise);

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out.substr(0, 64), HostSha256(noise));
}

TEST_F(StreamTest, BothDirectionsAtOnce) {
  const std::string noise = Noise(5'000'000);

  const Outcome outcome = ExecWith({"-i"}, {"cat"}, noise);

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.size(), noise.size());
  EXPECT_TRUE(outcome.out == noise);
}

TEST_F(StreamTest, OutputAndErrorTogetherLoseNothing) {
  const Outcome outcome = Exec({"sh", "-c", "seq 1 50000 & seq 50001 100000 >&2; wait"});

  EXPECT_EQ(outcome.exit_code, 0);
  std::string low, high;
  for (int i = 1; i <= 50000; ++i) low += std::to_string(i) + "\n";
  for (int i = 50001; i <= 100000; ++i) high += std::to_string(i) + "\n";
  EXPECT_TRUE(outcome.out == low) << outcome.out.size() << " of " << low.size() << " bytes";
  EXPECT_TRUE(outcome.err == high) << outcome.err.size() << " of " << high.size() << " bytes";
}

TEST_F(StreamTest, ALogKeepsWhatAContainerWroteToItsEnd) {
  const Outcome run = sandbox_->Hmvm({"run", "--name", "writer", "busybox", "seq", "1", "200000"});

  const Outcome logs = sandbox_->Hmvm({"logs", "writer"});

  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out.size(), 1'288'895u);
  EXPECT_TRUE(logs.out == run.out) << logs.out.size() << " bytes in the log";
  sandbox_->MustHmvm({"rm", "writer"});
}

TEST_F(StreamTest, AReaderThatGoesAwayEndsTheExecAndNotTheContainer) {
  std::string line;
  for (const std::string& word : sandbox_->Command({"exec", "shared", "yes"})) line += "'" + word + "' ";

  const Outcome outcome = RunProgram({"sh", "-c", line + " | head -n 1000 | tail -n 1"});

  EXPECT_EQ(outcome.out, "y\n");
  EXPECT_EQ(Shell("echo alive"), "alive");
}

}  // namespace
}  // namespace hmvm::test
