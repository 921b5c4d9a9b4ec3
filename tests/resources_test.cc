// What a container may use, measured: each limit holds within a tenth. A limit is judged from above; from
// below only by processor time, as this machine may be busy with other things. Those of disks are measured in
// vmm_test.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "security/cgroup.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ResourcesTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    const std::vector<std::string> missing = WhyNoLimits(
        CgroupHierarchies::Find(), {.cpu_quota_us = 50'000, .cpus = "0", .memory_bytes = 1 << 20});
    if (!missing.empty()) GTEST_SKIP() << missing[0];
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    for (const std::string& name : started_) (void)sandbox_->Hmvm({"rm", "-f", name});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }

  // In the background; removed after the test.
  void Start(const std::string& name, std::vector<std::string> options,
             const std::vector<std::string>& command) {
    options.insert(options.begin(), {"run", "-d", "--name", name});
    options.push_back("busybox");
    options.insert(options.end(), command.begin(), command.end());
    started_.push_back(name);
    sandbox_->MustHmvm(options);
  }
  static nlohmann::json Inspect(const std::string& name) {
    return nlohmann::json::parse(sandbox_->MustHmvm({"inspect", name}))[0];
  }
  static pid_t VmmOf(const std::string& name) { return Inspect(name)["vmm_pid"].get<pid_t>(); }
  static double CpuSeconds(pid_t pid) {
    const std::string stat = ReadText("/proc/" + std::to_string(pid) + "/stat");
    std::istringstream fields(stat.substr(stat.rfind(')') + 2));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    double user = 0, system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

  std::vector<std::string> started_;
};

const std::vector<std::string> kBusy = {"sh", "-c", "while :; do :; done"};

TEST_F(ResourcesTest, AQuotaOfProcessorTimeHolds) {
  Start("half", {"--cpus", "0.5"}, kBusy);
  const pid_t vmm = VmmOf("half");
  for (int round = 0; round < 2; ++round) {
    const double before_s = CpuSeconds(vmm);
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(WaitUntil([&] { return CpuSeconds(vmm) - before_s >= 1.5; })) << "it gets its time";
    const double used_s = CpuSeconds(vmm) - before_s;
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;

    EXPECT_LE(used_s, 1.1 * 0.5 * taken.count());
  }
}

// Its guest takes what the host has taken away for used: a quota of its own let it have half and less of it.
TEST_F(ResourcesTest, AQuotaOfProcessorTimeIsNotHeldTwice) {
  Start("quarter", {"--cpus", "0.25"}, kBusy);

  EXPECT_EQ(sandbox_->MustHmvm({"exec", "quarter", "cat", "/sys/fs/cgroup/cpu.max"}), "max 100000");
  EXPECT_THAT(sandbox_->MustHmvm({"exec", "quarter", "cat", "/sys/fs/cgroup/cpu.stat"}),
              HasSubstr("nr_throttled 0\n"));
}

TEST_F(ResourcesTest, SharesDivideOneProcessor) {
  Start("heavy", {"--cpu-shares", "2048", "--cpuset-cpus", "0"}, kBusy);
  Start("light", {"--cpu-shares", "512", "--cpuset-cpus", "0"}, kBusy);
  const pid_t heavy = VmmOf("heavy"), light = VmmOf("light");
  const double heavy_before_s = CpuSeconds(heavy), light_before_s = CpuSeconds(light);

  ASSERT_TRUE(WaitUntil([&] { return CpuSeconds(heavy) - heavy_before_s >= 4; }));

  const double share = (CpuSeconds(light) - light_before_s) / (CpuSeconds(heavy) - heavy_before_s);
  EXPECT_GE(share, 0.9 * 0.25);
  EXPECT_LE(share, 1.1 * 0.25);
}

TEST_F(ResourcesTest, ACpusetHoldsForEveryThread) {
  Start("pinned", {"--cpuset-cpus", "0", "--cpus", "1.5"}, kBusy);

  const pid_t vmm = VmmOf("pinned");
  int threads = 0;
  for (const fs::directory_entry& task : fs::directory_iterator("/proc/" + std::to_string(vmm) + "/task")) {
    EXPECT_THAT(ReadText(task.path() / "status"), HasSubstr("\nCpus_allowed_list:\t0\n")) << task.path();
    ++threads;
  }
  EXPECT_GE(threads, 4) << "two vCPUs, devices, control";
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "pinned", "nproc"}), "2");
}

TEST_F(ResourcesTest, ProcessesBeyondTheirNumberAreRefused) {
  const Outcome outcome = RunContainer(
      {"--pids-limit", "10"}, {"sh", "-c",
                               "(i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done) 2>/dev/null;"
                               "read peak < /sys/fs/cgroup/pids.peak; echo peak $peak"});

  EXPECT_EQ(outcome.out, "peak 10\n") << Describe(outcome);
}

TEST_F(ResourcesTest, OutOfMemoryAContainerIsKilledInItsGuestAndNobodyElseIsHurt) {
  Start("neighbour", {}, {"sleep", "1000000"});
  const pid_t vmm = VmmOf("neighbour");

  started_.push_back("greedy");
  const Outcome outcome =
      sandbox_->Hmvm({"run", "--name", "greedy", "-m", "128m", "busybox", "tail", "/dev/zero"});

  EXPECT_EQ(outcome.exit_code, 137) << Describe(outcome);
  const nlohmann::json greedy = Inspect("greedy");
  EXPECT_EQ(greedy["oom_killed"], true);
  EXPECT_EQ(greedy["status"], "stopped") << "its machine came to no harm";
  EXPECT_EQ(greedy["reason"], "");
  EXPECT_THAT(sandbox_->MustHmvm({"events", "--filter", "container=greedy"}), HasSubstr("\"oom\""));
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "neighbour", "echo", "well"}), "well");
  EXPECT_EQ(VmmOf("neighbour"), vmm);
  EXPECT_EQ(Inspect("neighbour")["oom_killed"], false);
}

TEST_F(ResourcesTest, AContainerThatFillsItsMemoryWithFilesEndsInItsGuest) {
  started_.push_back("files");
  (void)sandbox_->Hmvm(
      {"run", "--name", "files", "-m", "128m", "busybox", "sh", "-c",
       "for file in /f /dev/shm/f /tmp/f; do dd if=/dev/zero of=$file bs=1M count=200; done"});

  EXPECT_EQ(Inspect("files")["status"], "stopped") << Inspect("files")["reason"];
}

TEST_F(ResourcesTest, MoreSwapThanMemoryDoesNotMakeMoreOfIt) {
  started_.push_back("swap");
  const Outcome outcome = sandbox_->Hmvm(
      {"run", "--name", "swap", "-m", "128m", "--memory-swap", "1g", "busybox", "tail", "/dev/zero"});

  EXPECT_EQ(outcome.exit_code, 137);
  EXPECT_THAT(outcome.err, HasSubstr("the guest has no swap"));
  EXPECT_EQ(Inspect("swap")["oom_killed"], true);
}

TEST_F(ResourcesTest, ALimitOfTheImagesDiskReachesTheVmm) {
  const auto start = std::chrono::steady_clock::now();
  Start("slow", {"--device-read-iops", "/dev/vda:20"}, {"sleep", "1000000"});

  const nlohmann::json counters = Inspect("slow")["counters"];

  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_GT(counters["blk0.held_requests"], 0);
  EXPECT_LE(counters["blk0.reads"].get<double>() - counters["blk0.held_requests"].get<double>(),
            1.1 * 20 * taken.count() + 1);
}

TEST_F(ResourcesTest, InspectShowsTheLimitsAndTheHostHasThem) {
  Start("all",
        {"--cpus", "0.25", "--cpu-shares", "512", "--cpuset-cpus", "0", "-m", "200m", "--memory-swap", "200m",
         "--pids-limit", "50", "--device-read-bps", "/dev/vda:10mb"},
        {"sleep", "1000000"});

  const nlohmann::json all = Inspect("all");

  EXPECT_EQ(all["cpus"], 1);
  EXPECT_EQ(all["memory_bytes"], 200 << 20);
  const nlohmann::json resources = all["resources"];
  EXPECT_EQ(resources["cpu_quota_us"], 25'000);
  EXPECT_EQ(resources["cpu_shares"], 512);
  EXPECT_EQ(resources["cpuset_cpus"], "0");
  EXPECT_EQ(resources["memory_swap_bytes"], 200 << 20);
  EXPECT_EQ(resources["pids_limit"], 50);
  EXPECT_EQ(resources["device_read_bps"][0]["per_s"], 10 << 20);
  const std::string cgroups = ReadText("/proc/" + std::to_string(all["vmm_pid"].get<pid_t>()) + "/cgroup");
  EXPECT_THAT(cgroups, HasSubstr("/hmvm/" + all["id"].get<std::string>()));
}

TEST_F(ResourcesTest, WhatIsNotSaidIsNotLimited) {
  Start("free", {}, {"sleep", "1000000"});

  const nlohmann::json free = Inspect("free");

  EXPECT_EQ(free["resources"]["cpu_quota_us"], 0);
  EXPECT_EQ(free["resources"]["pids_limit"], 0);
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "free", "cat", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cpu.max"}),
            "max\nmax 100000");
}

TEST_F(ResourcesTest, WhatASupervisorThatWasKilledLeftGoesWithItsContainer) {
  Start("orphan", {"--cpus", "0.5"}, {"sleep", "1000000"});
  const nlohmann::json orphan = Inspect("orphan");
  const pid_t vmm = orphan["vmm_pid"].get<pid_t>();
  const std::string folder =
      CgroupHierarchies::Find().Of("cpu")->path + "/hmvm/" + orphan["id"].get<std::string>();
  ASSERT_TRUE(fs::exists(folder));

  ::kill(orphan["supervisor_pid"].get<pid_t>(), SIGKILL);
  ASSERT_TRUE(WaitUntil([&] { return !ProcessExists(vmm); }));
  sandbox_->MustHmvm({"rm", "-f", "orphan"});

  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(ResourcesTest, BadValuesAreRefusedWithTheRange) {
  const auto refused = [](const std::vector<std::string>& options) {
    const Outcome outcome = RunContainer(options, {"true"});
    EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
    return outcome.err;
  };
  EXPECT_THAT(refused({"--cpus", "1000"}), HasSubstr("range of CPUs is from 0.01 to"));
  EXPECT_THAT(refused({"--cpus", "0.001"}), HasSubstr("0.01 or more"));
  EXPECT_THAT(refused({"--cpu-shares", "1"}), HasSubstr("minimum allowed cpu-shares is 2"));
  EXPECT_THAT(refused({"--cpu-shares", "300000"}), HasSubstr("maximum allowed cpu-shares is 262144"));
  EXPECT_THAT(refused({"--cpuset-cpus", "8000"}), AllOf(HasSubstr("8000"), HasSubstr("available: 0")));
  EXPECT_THAT(refused({"--cpuset-cpus", "zero"}), HasSubstr("cpuset"));
  EXPECT_THAT(refused({"-m", "5m"}), HasSubstr("6MB"));
  EXPECT_THAT(refused({"-m", "8m"}), HasSubstr("too small"));
  EXPECT_THAT(refused({"--memory-swap", "1m"}), HasSubstr("larger than the memory limit"));
  EXPECT_THAT(refused({"--pids-limit", "-5"}), HasSubstr("pids-limit"));
  EXPECT_THAT(refused({"--device-read-bps", "/dev/vda"}), HasSubstr("<device-path>:<number>"));
  EXPECT_THAT(refused({"--device-write-iops", "/dev/sdb:5"}), HasSubstr("/dev/vda"));
}

}  // namespace
}  // namespace hmvm::test
