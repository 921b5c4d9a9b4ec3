// Containers that start from templates: that they do, that no two are alike, and that a broken template hurts
// nobody.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class TemplateTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    fs::remove_all(sandbox_->root() / "templates");
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }
  static nlohmann::json Templates() {
    return nlohmann::json::parse(sandbox_->MustHmvm({"template", "ls", "--format", "json"}));
  }
  static bool HasDraft() {
    std::error_code none;
    for (const fs::directory_entry& entry : fs::directory_iterator(sandbox_->root() / "templates", none)) {
      if (entry.path().filename().string().starts_with(".draft-")) return true;
    }
    return false;
  }
  static fs::path TemplateFolder() {
    return sandbox_->root() / "templates" / Templates()[0]["id"].get<std::string>();
  }
};

TEST_F(TemplateTest, NoTwoContainersOfATemplateAreAlike) {
  constexpr size_t kRestores = 20;
  constexpr char kIdentity[] =
      "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; cat /proc/sys/kernel/random/uuid; "
      "cat /proc/sys/kernel/random/boot_id; hostname; cat /etc/machine-id";
  constexpr size_t kLines = 5;
  sandbox_->MustHmvm({"template", "build"});
  std::set<std::string> seen;

  for (size_t i = 0; i < kRestores; ++i) {
    std::istringstream lines(sandbox_->MustHmvm({"run", "--rm", "busybox", "sh", "-c", kIdentity}));
    for (std::string line; std::getline(lines, line);) seen.insert(line);
  }

  EXPECT_EQ(seen.size(), kRestores * kLines);
  EXPECT_EQ(Templates().size(), 1u);
}

// What a guest says of its processors: how many, by system calls, by the kernel's lists, and that each works.
constexpr char kProcessors[] =
    "nproc; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; "
    "for cpu in $(seq 0 $(($(nproc) - 1))); do taskset -c $cpu sh -c 'cut -d\" \" -f39 /proc/self/stat'; "
    "done";

TEST_F(TemplateTest, OneServesAllNumbersOfProcessors) {
  EXPECT_EQ(RunContainer({}, {"sh", "-c", kProcessors}).out, "1\n1\n0\n0\n");
  EXPECT_EQ(RunContainer({"--cpus", "2"}, {"sh", "-c", kProcessors}).out, "2\n2\n0-1\n0\n1\n");
  EXPECT_EQ(RunContainer({"--cpus", "1.5"}, {"nproc"}).out, "2\n");
  EXPECT_EQ(RunContainer({"--cpus", "2", "--no-template"}, {"sh", "-c", kProcessors}).out,
            "2\n2\n0-1\n0\n1\n");

  EXPECT_EQ(Templates().size(), 1u);
}

// The guest's kernel knows of processors that a container has not asked for.
TEST_F(TemplateTest, AProcessorThatWasNotAskedForIsOutOfReach) {
  const Outcome outcome =
      RunContainer({"--privileged"}, {"sh", "-c", "echo 1 > /sys/devices/system/cpu/cpu1/online; nproc"});

  EXPECT_EQ(outcome.out, "1\n") << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("No such device"));
}

TEST_F(TemplateTest, SnapshotsAndForksHaveTheProcessorsOfTheContainer) {
  sandbox_->MustHmvm({"run", "-d", "--name", "two", "--cpus", "2", "busybox", "sleep", "1000"});
  sandbox_->MustHmvm({"snapshot", "create", "two", "of-two"});
  const std::string restored = sandbox_->MustHmvm({"restore", "of-two"});
  const std::string fork = sandbox_->MustHmvm({"fork", "two"});

  for (const std::string& container : {std::string("two"), restored, fork}) {
    EXPECT_EQ(sandbox_->MustHmvm({"exec", container, "sh", "-c", kProcessors}), "2\n2\n0-1\n0\n1");
  }

  for (const std::string& container : {std::string("two"), restored, fork})
    sandbox_->MustHmvm({"rm", "-f", container});
  sandbox_->MustHmvm({"snapshot", "rm", "of-two"});
}

// MemTotal in MiB, which is without what the kernel keeps from its boot on.
constexpr char kMemTotal[] = "awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo";

TEST_F(TemplateTest, OneServesAllSizesOfMemory) {
  const int base = std::stoi(RunContainer({}, {"sh", "-c", kMemTotal}).out);
  for (const int mib : {258, 384, 512, 1024, 2048}) {
    const Outcome outcome = RunContainer({"-m", std::to_string(mib) + "m"}, {"sh", "-c", kMemTotal});
    EXPECT_NEAR(std::stoi("0" + outcome.out), base + mib - 256, 1) << mib << Describe(outcome);
  }
  EXPECT_EQ(Templates().size(), 1u);
  EXPECT_EQ(Templates()[0]["memory_mib"], 256);

  const std::string small = RunContainer({"-m", "192m"}, {"sh", "-c", kMemTotal}).out;
  EXPECT_EQ(small, RunContainer({"-m", "192m", "--no-template"}, {"sh", "-c", kMemTotal}).out);
  EXPECT_EQ(Templates().size(), 2u);
}

TEST_F(TemplateTest, OneOfTheExactSizeIsTakenWhereThereIsOne) {
  sandbox_->MustHmvm({"template", "build", "--cpus", "2", "-m", "384m"});
  const std::string line = std::string("nproc; ") + kMemTotal;

  const std::string exact = RunContainer({"--cpus", "2", "-m", "384m"}, {"sh", "-c", line}).out;

  EXPECT_EQ(exact, RunContainer({"--cpus", "2", "-m", "384m", "--no-template"}, {"sh", "-c", line}).out);
  ASSERT_EQ(Templates().size(), 1u);
  EXPECT_EQ(Templates()[0]["grows"], false);
  EXPECT_EQ(Templates()[0]["memory_mib"], 384);
}

// 450 MiB written and read again, where the guest was booted with 256.
TEST_F(TemplateTest, AddedMemoryHoldsWhatIsWrittenToIt) {
  const std::string program =
      "dd if=/dev/urandom of=/dev/shm/part bs=1M count=50 2>/dev/null; "
      "for i in $(seq 1 8); do cp /dev/shm/part /tmp/$i; done; md5sum /dev/shm/part /tmp/* | cut -c1-32 | "
      "sort -u | wc -l";

  EXPECT_EQ(RunContainer({"-m", "1g"}, {"sh", "-c", program}).out, "1\n");
}

TEST_F(TemplateTest, BeyondTheAddedMemoryAContainerIsKilledInItsGuest) {
  const Outcome outcome =
      sandbox_->Hmvm({"run", "--name", "large", "-m", "512m", "busybox", "tail", "/dev/zero"});
  EXPECT_EQ(outcome.exit_code, 137) << Describe(outcome);

  const auto inspected = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", "large"}));

  EXPECT_EQ(inspected[0]["oom_killed"], true) << inspected.dump();
  sandbox_->MustHmvm({"rm", "large"});
}

// What lies in added memory is in full snapshots, in diffs, and in the copies of a fork.
TEST_F(TemplateTest, AddedMemoryGoesIntoSnapshots) {
  sandbox_->MustHmvm({"run", "-d", "--name", "origin", "-m", "768m", "busybox", "sh", "-c",
                      "head -c 300m /dev/urandom > /tmp/first; sleep 1000"});
  const auto sum = [](const std::string& container, const std::string& file) {
    return sandbox_->MustHmvm({"exec", container, "md5sum", file});
  };
  WaitUntil([] {
    return sandbox_->MustHmvm({"exec", "origin", "sh", "-c", "stat -c %s /tmp/first || true"}) == "314572800";
  });
  sandbox_->MustHmvm({"snapshot", "create", "origin", "full"});
  sandbox_->MustHmvm({"exec", "origin", "sh", "-c", "head -c 50m /dev/urandom > /tmp/second"});
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "full", "origin", "diff"});
  const std::string fork = sandbox_->MustHmvm({"fork", "origin"});
  const std::string restored = sandbox_->MustHmvm({"restore", "diff"});

  for (const std::string& container : {fork, restored}) {
    for (const char* file : {"/tmp/first", "/tmp/second"})
      EXPECT_EQ(sum(container, file), sum("origin", file));
    EXPECT_EQ(sandbox_->MustHmvm({"exec", container, "sh", "-c", kMemTotal}),
              sandbox_->MustHmvm({"exec", "origin", "sh", "-c", kMemTotal}));
  }

  for (const std::string& container : {std::string("origin"), fork, restored})
    sandbox_->MustHmvm({"rm", "-f", container});
  sandbox_->MustHmvm({"snapshot", "rm", "diff", "full"});
}

TEST_F(TemplateTest, DamagedMemoryIsToldAndTheNextRunHasATemplateAgain) {
  sandbox_->MustHmvm({"template", "build"});
  std::fstream memory(TemplateFolder() / "memory", std::ios::in | std::ios::out | std::ios::binary);
  memory.seekp(9 << 20);
  memory << "not what was there";
  memory.close();

  const Outcome damaged = RunContainer({}, {"echo", "hi"});
  const Outcome next = RunContainer({}, {"echo", "hi"});

  EXPECT_EQ(damaged.exit_code, 0) << Describe(damaged);
  EXPECT_EQ(damaged.out, "hi\n");
  EXPECT_THAT(damaged.err, HasSubstr("template was of no use"));
  EXPECT_EQ(next.out, "hi\n");
  EXPECT_EQ(next.err, "");
  EXPECT_EQ(Templates().size(), 1u);
}

TEST_F(TemplateTest, AChangedKernelIsBootedAnewAndTheOldTemplateGoes) {
  const fs::path kernel = sandbox_->dir() / "vmlinux";
  fs::copy_file(GuestKernel(), kernel);
  EXPECT_EQ(RunContainer({"--kernel", kernel}, {"true"}).exit_code, 0);
  const std::string before = Templates()[0]["id"];

  fs::remove(kernel);
  fs::copy_file(GuestKernel(), kernel);
  const bool stale = Templates()[0]["stale"];
  EXPECT_EQ(RunContainer({"--kernel", kernel}, {"true"}).exit_code, 0);

  EXPECT_TRUE(stale);
  ASSERT_EQ(Templates().size(), 1u);
  EXPECT_NE(Templates()[0]["id"], before);
}

TEST_F(TemplateTest, ABuilderThatIsKilledLeavesNothingInTheWay) {
  for (int i = 0; i < 5; ++i) {
    Child builder(sandbox_->Command({"template", "build"}));
    WaitUntil(HasDraft);
    builder.Signal(SIGKILL);
    builder.Wait();
    EXPECT_TRUE(Templates().empty());
  }

  EXPECT_EQ(RunContainer({}, {"echo", "hi"}).out, "hi\n");

  EXPECT_EQ(Templates().size(), 1u);
  EXPECT_FALSE(HasDraft());
}

TEST_F(TemplateTest, WhatCannotBeBuiltIsToldAsARunTellsIt) {
  const fs::path kernel = sandbox_->dir() / "no-kernel";
  std::ofstream(kernel) << "no kernel";
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{"--cpus", "1000"}, {"-m", "5m"}, {"-m", "8m"}, {"--kernel", kernel}}) {
    std::vector<std::string> build = {"template", "build"};
    build.insert(build.end(), options.begin(), options.end());
    const std::string of_run = RunContainer(options, {"true"}).err;

    const Outcome outcome = sandbox_->Hmvm(build);

    EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
    ASSERT_THAT(of_run, testing::StartsWith("hmvm: "));
    EXPECT_THAT(outcome.err, testing::EndsWith(of_run.substr(std::string("hmvm: ").size())));
  }
  EXPECT_TRUE(Templates().empty());
}

TEST_F(TemplateTest, ARunWithoutTemplateMakesNone) {
  EXPECT_EQ(RunContainer({"--no-template"}, {"echo", "hi"}).out, "hi\n");

  EXPECT_TRUE(Templates().empty());
}

}  // namespace
}  // namespace hmvm::test
