// A container in which nothing happens costs the host nothing but memory: nobody on its way polls. Wake-ups
// are counted, which a busy host does not change.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <nlohmann/json.hpp>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

// How often the process's threads have gone to sleep.
long WakeUps(pid_t pid) {
  long sum = 0;
  for (const fs::directory_entry& thread : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream status(thread.path() / "status");
    const std::string key = "voluntary_ctxt_switches:";
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(key)) sum += std::stol(line.substr(key.size()));
    }
  }
  return sum;
}

class IdleTest : public GuestTest, public testing::WithParamInterface<std::vector<std::string>> {
 protected:
  void TearDown() override {
    if (sandbox_ != nullptr) (void)sandbox_->Hmvm({"rm", "-f", "idle"});
  }
  static void Start(const std::vector<std::string>& options, const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"run", "-d", "--name", "idle"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.push_back("busybox");
    arguments.insert(arguments.end(), command.begin(), command.end());
    sandbox_->MustHmvm(arguments);
  }
};

// The guest's clock is compared with the host's every two seconds, its kernel has a few timers of tens of
// seconds, and each of these wakes a thread or two.
TEST_P(IdleTest, AContainerThatWaitsHardlyWakes) {
  constexpr std::chrono::seconds kWatched{20};
  constexpr long kMostPerSecond = 5;  // 1.5 on a quiet host, 2.6 with two vCPUs; it was 10
  Start(GetParam(), {"sleep", "100000"});
  std::this_thread::sleep_for(std::chrono::seconds(10));  // what a start leaves to be done later
  const auto inspected = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", "idle"}))[0];
  const pid_t vmm = inspected["vmm_pid"].get<pid_t>();
  const pid_t supervisor = inspected["supervisor_pid"].get<pid_t>();
  const long before = WakeUps(vmm), supervisor_before = WakeUps(supervisor);

  std::this_thread::sleep_for(kWatched);

  const long woken = WakeUps(vmm) - before;
  RecordProperty("wake_ups", static_cast<int>(woken));
  EXPECT_LE(woken, kMostPerSecond * kWatched.count());
  EXPECT_LE(WakeUps(supervisor) - supervisor_before, kWatched.count() / 4);
}
INSTANTIATE_TEST_SUITE_P(Starts, IdleTest,
                         testing::Values(std::vector<std::string>{},
                                         std::vector<std::string>{"--no-template"},
                                         std::vector<std::string>{"--cpus", "2"}),
                         [](const auto& info) {
                           return info.index == 0   ? "FromATemplate"
                                  : info.index == 1 ? "Booted"
                                                    : "TwoProcessors";
                         });

// What keeps the others alive then, the kernel's fair server, starts with the first real-time task only.
TEST_F(IdleTest, ARealTimeTaskThatNeverSleepsLeavesOthersTheirShare) {
  Start({"--privileged"}, {"sleep", "100000"});
  std::ifstream file(BuildDir() / "tests/real_time_spinner", std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  ASSERT_EQ(
      sandbox_
          ->Hmvm({"exec", "-i", "idle", "sh", "-c", "cat > /bin/spinner && chmod 755 /bin/spinner"}, program)
          .exit_code,
      0);
  Child spinner(sandbox_->Command({"exec", "--privileged", "idle", "spinner"}));
  ASSERT_TRUE(spinner.WaitForOutput("spinning\n"));

  EXPECT_EQ(sandbox_->MustHmvm({"exec", "idle", "sh", "-c", "for i in 1 2 3; do echo $i; done | wc -l"}),
            "3");

  sandbox_->MustHmvm({"rm", "-f", "idle"});
  spinner.Wait();
}

}  // namespace
}  // namespace hmvm::test
