#include "security/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/device_rules.h"
#include "base/file.h"
#include "base/process.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Line(const fs::path& point, const std::string& type, const std::string& options) {
  return "36 35 0:31 / " + point.string() + " rw,nosuid shared:9 - " + type + " " + type + " " + options +
         "\n";
}

// Folders with plain files in the place of mounted hierarchies. What the kernel would make in a new cgroup
// has to be made here.
class CgroupFilesTest : public testing::Test {
 protected:
  CgroupFilesTest() {
    std::string path = testing::TempDir() + "hmvm-cgroup-XXXXXX";
    dir_ = ::mkdtemp(path.data());
  }
  ~CgroupFilesTest() override { fs::remove_all(dir_); }

  void Write(const std::string& file, const std::string& text) const {
    fs::create_directories((dir_ / file).parent_path());
    std::ofstream(dir_ / file) << text;
  }
  std::string Read(const std::string& file) const { return ReadFile(dir_ / file).value_or("not there"); }
  CgroupHierarchies Version1() const {
    return CgroupHierarchies::Parse(Line(dir_ / "cpu", "cgroup", "rw,cpu,cpuacct") +
                                    Line(dir_ / "cpuset", "cgroup", "rw,cpuset") +
                                    Line(dir_ / "memory", "cgroup", "rw,memory"));
  }
  CgroupHierarchies Version2() const {
    Write("unified/cgroup.controllers", "cpuset cpu io memory pids\n");
    return CgroupHierarchies::Parse(Line(dir_ / "unified", "cgroup2", "rw,nsdelegate"));
  }

  fs::path dir_;
};

constexpr char kPaths[] =
    "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "36 35 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "37 35 0:32 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,memory\n"
    "38 35 0:33 / /elsewhere rw - cgroup cgroup rw,memory\n"
    "39 35 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "half a line\n";

TEST(CgroupHierarchiesTest, EachControllerIsWhereItIsMountedFirst) {
  const CgroupHierarchies found = CgroupHierarchies::Parse(kPaths);

  ASSERT_NE(found.Of("cpu"), nullptr);
  EXPECT_EQ(found.Of("cpu")->path, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(found.Of("cpuacct")->path, found.Of("cpu")->path);
  EXPECT_FALSE(found.Of("cpu")->v2);
  ASSERT_NE(found.Of("memory"), nullptr);
  EXPECT_EQ(found.Of("memory")->path, "/sys/fs/cgroup/with space");
  EXPECT_EQ(found.Of("cpuset"), nullptr);
}

TEST_F(CgroupFilesTest, OnAHybridHostBothVersionsServe) {
  Write("unified/cgroup.controllers", "cpu\n");
  const CgroupHierarchies found = CgroupHierarchies::Parse(Line(dir_ / "unified", "cgroup2", "rw") +
                                                           Line(dir_ / "memory", "cgroup", "rw,memory"));

  ASSERT_NE(found.Of("cpu"), nullptr);
  EXPECT_TRUE(found.Of("cpu")->v2);
  ASSERT_NE(found.Of("memory"), nullptr);
  EXPECT_FALSE(found.Of("memory")->v2);
}

TEST(CpuWeightTest, TheRangesMeetAtBothEnds) {
  EXPECT_EQ(CpuWeight(2), 1u);
  EXPECT_EQ(CpuWeight(1024), 39u);
  EXPECT_EQ(CpuWeight(262144), 10000u);
}

TEST_F(CgroupFilesTest, Version1GetsItsFiles) {
  for (const char* file :
       {"cpu/hmvm/m/cpu.cfs_period_us", "cpu/hmvm/m/cpu.cfs_quota_us", "cpu/hmvm/m/cpu.shares",
        "cpu/hmvm/m/tasks", "cpuset/hmvm/cpuset.cpus", "cpuset/hmvm/cpuset.mems", "cpuset/hmvm/m/cpuset.cpus",
        "cpuset/hmvm/m/cpuset.mems", "cpuset/hmvm/m/tasks", "memory/hmvm/m/memory.limit_in_bytes",
        "memory/hmvm/m/memory.memsw.limit_in_bytes", "memory/hmvm/m/tasks"}) {
    Write(file, "");
  }
  Write("cpuset/cpuset.cpus", "0-7\n");
  Write("cpuset/cpuset.mems", "0-1\n");

  const auto cgroup = Cgroup::Create(Version1(), "m",
                                     {.cpu_quota_us = 50123,
                                      .cpu_shares = 512,
                                      .cpus = "1,3",
                                      .memory_bytes = 1 << 20,
                                      .swap_bytes = 1 << 10});

  ASSERT_TRUE(cgroup.has_value()) << cgroup.error().Message();
  EXPECT_EQ(Read("cpu/hmvm/m/cpu.cfs_period_us"), "100000");
  EXPECT_EQ(Read("cpu/hmvm/m/cpu.cfs_quota_us"), "50123");
  EXPECT_EQ(Read("cpu/hmvm/m/cpu.shares"), "512");
  EXPECT_EQ(Read("cpuset/hmvm/cpuset.cpus"), "0-7");
  EXPECT_EQ(Read("cpuset/hmvm/m/cpuset.mems"), "0-1");
  EXPECT_THAT(Read("cpuset/hmvm/m/cpuset.cpus"), testing::StartsWith("1,3"));
  EXPECT_EQ(Read("memory/hmvm/m/memory.limit_in_bytes"), "1048576");
  EXPECT_EQ(Read("memory/hmvm/m/memory.memsw.limit_in_bytes"), "1049600");
  EXPECT_EQ(cgroup->v1_tasks().size(), 3u);
  EXPECT_EQ(cgroup->v2_directory(), -1);
}

TEST_F(CgroupFilesTest, MoreMemoryIsAllowedWhereItIsLimited) {
  for (const char* file : {"memory/hmvm/m/memory.limit_in_bytes", "memory/hmvm/m/memory.memsw.limit_in_bytes",
                           "memory/hmvm/m/tasks", "unified/cgroup.subtree_control",
                           "unified/hmvm/cgroup.subtree_control", "unified/hmvm/m/memory.max"}) {
    Write(file, "");
  }
  const auto version1 = Cgroup::Create(Version1(), "m", {.memory_bytes = 1 << 20, .swap_bytes = 1 << 10});
  const auto version2 = Cgroup::Create(Version2(), "m", {.memory_bytes = 1 << 20});
  ASSERT_TRUE(version1.has_value() && version2.has_value());

  EXPECT_TRUE(version1->AllowMoreMemory(1 << 20).has_value());
  EXPECT_TRUE(version2->AllowMoreMemory(1 << 20).has_value());

  EXPECT_EQ(Read("memory/hmvm/m/memory.limit_in_bytes"), "2097152");
  EXPECT_EQ(Read("memory/hmvm/m/memory.memsw.limit_in_bytes"), "2098176");
  EXPECT_EQ(Read("unified/hmvm/m/memory.max"), "2097152");
  Write("unified/hmvm/m/memory.max", "max\n");
  EXPECT_TRUE(version2->AllowMoreMemory(1 << 20).has_value());
  EXPECT_EQ(Read("unified/hmvm/m/memory.max"), "max\n");
}

// Plain files take a second value behind the first.
TEST_F(CgroupFilesTest, ALiftedQuotaOfProcessorTimeHoldsAgainLater) {
  for (const char* file :
       {"unified/cgroup.subtree_control", "unified/hmvm/cgroup.subtree_control", "unified/hmvm/m/cpu.max"}) {
    Write(file, "");
  }
  for (const char* file : {"tasks", "cpu.cfs_period_us", "cpu.cfs_quota_us"})
    Write(std::string("cpu/hmvm/m/") + file, "");
  const CgroupLimits limits{.cpu_quota_us = 25'000};
  const auto version1 = Cgroup::Create(Version1(), "m", limits);
  const auto version2 = Cgroup::Create(Version2(), "m", limits);
  ASSERT_TRUE(version1.has_value()) << version1.error().Message();
  ASSERT_TRUE(version2.has_value()) << version2.error().Message();

  const auto lifted1 = version1->LiftCpuQuota();
  const auto lifted2 = version2->LiftCpuQuota();
  ASSERT_TRUE(lifted1.has_value() && lifted2.has_value());
  EXPECT_TRUE(Read("cpu/hmvm/m/cpu.cfs_quota_us").starts_with("-1"));
  EXPECT_TRUE(Read("unified/hmvm/m/cpu.max").starts_with("max"));

  EXPECT_TRUE(lifted1->Hold().has_value());
  EXPECT_TRUE(lifted2->Hold().has_value());
  EXPECT_TRUE(Read("cpu/hmvm/m/cpu.cfs_quota_us").ends_with("25000"));
  EXPECT_TRUE(Read("unified/hmvm/m/cpu.max").ends_with("25000 100000"));
}

TEST_F(CgroupFilesTest, Version2GetsItsFilesAndControllersAreHandedDown) {
  for (const char* file : {"unified/cgroup.subtree_control", "unified/hmvm/cgroup.subtree_control",
                           "unified/hmvm/m/memory.max", "unified/hmvm/m/memory.swap.max"}) {
    Write(file, "");
  }

  const auto cgroup = Cgroup::Create(Version2(), "m", {.memory_bytes = 1 << 20, .swap_bytes = 0});

  ASSERT_TRUE(cgroup.has_value()) << cgroup.error().Message();
  EXPECT_EQ(Read("unified/cgroup.subtree_control"), "+memory");
  EXPECT_EQ(Read("unified/hmvm/cgroup.subtree_control"), "+memory");
  EXPECT_EQ(Read("unified/hmvm/m/memory.max"), "1048576");
  EXPECT_EQ(Read("unified/hmvm/m/memory.swap.max"), "0");
  EXPECT_THAT(cgroup->v1_tasks(), IsEmpty());
  EXPECT_GE(cgroup->v2_directory(), 0);
}

TEST_F(CgroupFilesTest, WhatIsHandedDownAlreadyIsLeftAsItIs) {
  Write("unified/cgroup.subtree_control", "cpu memory\n");
  Write("unified/hmvm/cgroup.subtree_control", "cpu\n");
  Write("unified/hmvm/m/cpu.max", "");
  Write("unified/hmvm/m/cpu.weight", "");

  const auto cgroup = Cgroup::Create(Version2(), "m", {.cpu_quota_us = 150'000, .cpu_shares = 1024});

  ASSERT_TRUE(cgroup.has_value()) << cgroup.error().Message();
  EXPECT_EQ(Read("unified/cgroup.subtree_control"), "cpu memory\n");
  EXPECT_EQ(Read("unified/hmvm/m/cpu.max"), "150000 100000");
  EXPECT_EQ(Read("unified/hmvm/m/cpu.weight"), "39");
}

TEST_F(CgroupFilesTest, MissingControllersAreNamedAndLeftOut) {
  const CgroupHierarchies none = CgroupHierarchies::Parse("");
  const CgroupLimits limits = {.cpu_quota_us = 50'000, .cpus = "0"};

  EXPECT_THAT(WhyNoLimits(none, limits),
              ElementsAre("the host has no cgroup controller 'cpu': processor time is not limited",
                          "the host has no cgroup controller 'cpuset': any processor may be used"));
  EXPECT_TRUE(Cgroup::Create(none, "m", limits).has_value());
}

TEST_F(CgroupFilesTest, ACgroupOfVersion2WithProcessesOfItsOwnCanHandNothingDown) {
  Write("unified/cgroup.subtree_control", "");
  Write("unified/cgroup.type", "domain\n");
  Write("unified/cgroup.procs", "1\n");
  const CgroupHierarchies hierarchies = Version2();

  EXPECT_THAT(WhyNoLimits(hierarchies, {.memory_bytes = 1}),
              ElementsAre(HasSubstr("has processes of its own")));
  EXPECT_TRUE(Cgroup::Create(hierarchies, "m", {.memory_bytes = 1}).has_value());
  EXPECT_FALSE(fs::exists(dir_ / "unified/hmvm"));
}

TEST_F(CgroupFilesTest, WithoutLimitsNothingIsWantedOrMade) {
  fs::create_directories(dir_ / "cpu");

  EXPECT_THAT(WhyNoLimits(CgroupHierarchies::Parse(""), {}), IsEmpty());
  EXPECT_TRUE(Cgroup::Create(Version1(), "m", {}).has_value());

  EXPECT_THAT(fs::is_empty(dir_ / "cpu"), true);
}

TEST_F(CgroupFilesTest, AFailureNamesTheFileAndLeavesNothing) {
  fs::create_directories(dir_ / "memory");  // no kernel puts files into new folders of it

  const auto cgroup = Cgroup::Create(Version1(), "m", {.memory_bytes = 1});

  ASSERT_FALSE(cgroup.has_value());
  EXPECT_THAT(cgroup.error().what, HasSubstr("hmvm/m/memory.limit_in_bytes"));
  EXPECT_TRUE(fs::is_empty(dir_ / "memory"));
}

TEST_F(CgroupFilesTest, WhatACrashLeftIsRemovedButNotANeighbours) {
  for (const char* folder : {"cpu/hmvm/dead", "memory/hmvm/dead", "memory/hmvm/alive"}) {
    fs::create_directories(dir_ / folder);
  }

  EXPECT_TRUE(RemoveCgroups(Version1(), "dead").some);

  EXPECT_FALSE(RemoveCgroups(Version1(), "dead").some) << "there is none any more";
  EXPECT_FALSE(fs::exists(dir_ / "cpu/hmvm"));
  EXPECT_FALSE(fs::exists(dir_ / "memory/hmvm/dead"));
  EXPECT_TRUE(fs::exists(dir_ / "memory/hmvm/alive"));
}

TEST_F(CgroupFilesTest, WhoIsStillEndingIsWaitedForAsLongAsAsked) {
  fs::create_directories(dir_ / "cpu/hmvm/dead");
  const fs::path process = dir_ / "memory/hmvm/dead/process";  // as good as one: rmdir() fails
  fs::create_directories(process);

  const RemovedCgroups at_once = RemoveCgroups(Version1(), "dead");
  std::jthread end([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    fs::remove(process);
  });
  const RemovedCgroups patient = RemoveCgroups(Version1(), "dead", std::chrono::minutes(1));

  EXPECT_TRUE(at_once.some);
  EXPECT_FALSE(at_once.all);
  EXPECT_TRUE(patient.all);
  EXPECT_FALSE(fs::exists(dir_ / "memory/hmvm"));
}

// The real thing, as far as this host has it.
class CgroupKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "not root";
  }

  // What `cat /proc/self/cgroup` says when it is started there.
  static std::string ProcessSays(int v2_directory, const std::vector<int>& v1_tasks) {
    Pipe pipe = *MakePipe();
    auto process = Process::Start({.arguments = {"/bin/cat", "/proc/self/cgroup"},
                                   .fds = {{pipe.write.get(), 1}},
                                   .cgroup = v2_directory,
                                   .cgroup_tasks = v1_tasks});
    pipe.write.reset();
    if (!process.has_value()) return process.error().Message();
    std::string text(65536, '\0');
    text.resize(ReadFull(pipe.read.get(), std::as_writable_bytes(std::span(text))).value_or(0));
    EXPECT_EQ(*process->Wait(), 0);
    return text;
  }

  const std::string name_ = "test-" + std::to_string(::getpid());
};

TEST_F(CgroupKernelTest, AProcessIsBornUnderItsLimitsAndNothingStays) {
  const CgroupHierarchies hierarchies = CgroupHierarchies::Find();
  const CgroupLimits limits = {
      .cpu_quota_us = 50'000, .cpu_shares = 512, .cpus = "0", .memory_bytes = uint64_t{256} << 20};
  if (!WhyNoLimits(hierarchies, limits).empty()) GTEST_SKIP() << WhyNoLimits(hierarchies, limits)[0];
  {
    const auto cgroup = Cgroup::Create(hierarchies, name_, limits);
    ASSERT_TRUE(cgroup.has_value()) << cgroup.error().Message();

    const std::string says = ProcessSays(cgroup->v2_directory(), cgroup->v1_tasks());

    for (const char* controller : {"cpu", "cpuset", "memory"}) {
      const auto* const hierarchy = hierarchies.Of(controller);
      EXPECT_TRUE(fs::exists(hierarchy->path + "/hmvm/" + name_ + "/cgroup.procs"));
      const std::string number = hierarchy->v2 ? "0::" : std::string(controller) + ":";
      EXPECT_THAT(says, HasSubstr(number + "/hmvm/" + name_ + "\n")) << controller;
    }
  }
  for (const char* controller : {"cpu", "cpuset", "memory"}) {
    EXPECT_FALSE(fs::exists(hierarchies.Of(controller)->path + "/hmvm/" + name_));
  }
}

// In a cgroup of version 2, whatever controllers it has: systemd's own hierarchy on hybrid hosts has none or
// few.
class Cgroup2KernelTest : public CgroupKernelTest {
 protected:
  void SetUp() override {
    CgroupKernelTest::SetUp();
    if (IsSkipped()) return;
    std::ifstream mounts("/proc/self/mounts");
    std::string source, point, type, rest;
    while (mounts >> source >> point >> type && std::getline(mounts, rest) && type != "cgroup2") {
    }
    if (type != "cgroup2") GTEST_SKIP() << "no cgroup2 is mounted";
    folder_ = point + "/hmvm-" + name_;
    if (::mkdir(folder_.c_str(), 0755) < 0) GTEST_SKIP() << folder_ << " can't be made";
    directory_ = *OpenFile(folder_, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override {
    if (!directory_.valid()) return;
    EXPECT_EQ(::rmdir(folder_.c_str()), 0);
  }

  std::string folder_;
  UniqueFd directory_;
};

TEST_F(Cgroup2KernelTest, AProcessIsBornThere) {
  EXPECT_THAT(ProcessSays(directory_.get(), {}), HasSubstr("0::/hmvm-" + name_ + "\n"));
}

TEST_F(Cgroup2KernelTest, ItsProcessesOpenTheNullDeviceAndNoOther) {
  const auto opens = [this](const std::string& device) {
    auto process =
        Process::Start({.arguments = {"/bin/sh", "-c", ": < " + device}, .cgroup = directory_.get()});
    return process.has_value() && process->Wait() == 0;
  };
  ASSERT_TRUE(opens("/dev/zero"));

  const auto closed = HoldToDeviceRules(directory_.get(), std::span(&kNullDevice, 1));

  if (!closed.has_value()) GTEST_SKIP() << closed.error().Message();
  EXPECT_TRUE(opens("/dev/null"));
  EXPECT_FALSE(opens("/dev/zero"));
  EXPECT_FALSE(opens("/dev/random"));
}

TEST_F(CgroupKernelTest, AValueThatTheKernelRefusesIsAnErrorAndNothingStays) {
  const CgroupHierarchies hierarchies = CgroupHierarchies::Find();
  if (!WhyNoLimits(hierarchies, {.cpus = "0"}).empty()) GTEST_SKIP() << "no cpuset";

  const auto cgroup = Cgroup::Create(hierarchies, name_, {.cpus = "4000"});

  ASSERT_FALSE(cgroup.has_value());
  EXPECT_THAT(cgroup.error().what, HasSubstr("write '4000' to '"));
  EXPECT_FALSE(fs::exists(hierarchies.Of("cpuset")->path + "/hmvm/" + name_));
}

}  // namespace
}  // namespace hmvm
