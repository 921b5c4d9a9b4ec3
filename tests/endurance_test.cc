// A thousand execs leave agent, supervisor and VMM as they were: no descriptor, no process, no memory more.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using EnduranceTest = ContainerTest;

struct Usage {
  int descriptors = 0;
  int threads = 0;
  long resident_kib = 0;
};

Usage UsageOf(pid_t pid) {
  Usage usage;
  const fs::path proc = "/proc/" + std::to_string(pid);
  for ([[maybe_unused]] const fs::directory_entry& entry : fs::directory_iterator(proc / "fd"))
    ++usage.descriptors;
  std::ifstream status(proc / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) usage.threads = std::stoi(line.substr(8));
    if (line.starts_with("RssAnon:")) usage.resident_kib = std::stol(line.substr(8));
  }
  return usage;
}

TEST_F(EnduranceTest, AThousandExecsLeaveNoTrace) {
  constexpr int kWarmUp = 50, kRounds = 1000;
  const auto exec_all = [](int count) {
    for (int i = 0; i < count; ++i) {
      const Outcome outcome = Exec({"sh", "-c", "exit " + std::to_string(i % 100)});
      ASSERT_EQ(outcome.exit_code, i % 100) << "exec " << i << "\n" << Describe(outcome);
    }
  };
  exec_all(kWarmUp);  // what is allocated once is allocated now
  const std::vector<pid_t> vmms = FindProcesses("hmvm-vmm");
  ASSERT_EQ(vmms.size(), 1u);
  std::vector<pid_t> supervisors = FindProcesses(HmvmProgram().string());
  std::erase(supervisors, vmms[0]);
  ASSERT_EQ(supervisors.size(), 1u);
  const auto guest = [] {
    std::istringstream numbers(
        // Processes counted by the shell itself: of a pipeline's some may not have been started yet.
        Shell(
            "set -- /proc/[0-9]*; echo $#; grep MemAvailable /proc/meminfo | tr -dc 0-9; echo; cut -d' ' -f1 "
            "/proc/sys/fs/file-nr"));
    long processes = 0, available_kib = 0, files = 0;
    numbers >> processes >> available_kib >> files;
    return std::tuple(processes, available_kib, files);
  };
  const Usage vmm_before = UsageOf(vmms[0]), supervisor_before = UsageOf(supervisors[0]);
  const auto [processes_before, available_before, files_before] = guest();

  exec_all(kRounds);
  if (HasFatalFailure()) return;

  const Usage vmm = UsageOf(vmms[0]), supervisor = UsageOf(supervisors[0]);
  const auto [processes, available, files] = guest();
  EXPECT_EQ(supervisor.descriptors, supervisor_before.descriptors);
  EXPECT_LE(supervisor.threads, supervisor_before.threads);
  EXPECT_LE(supervisor.resident_kib, supervisor_before.resident_kib + 2048)
      << "2 KiB an exec would be a leak";
  EXPECT_EQ(vmm.descriptors, vmm_before.descriptors);
  EXPECT_EQ(vmm.threads, vmm_before.threads);
  EXPECT_EQ(processes, processes_before);
  // The kernel's caches breathe: a leak of one page or file an exec would show.
  EXPECT_LE(files, files_before + kRounds / 10);
  EXPECT_GE(available, available_before - 3 * kRounds);
  RecordProperty("supervisor_kib",
                 static_cast<int>(supervisor.resident_kib - supervisor_before.resident_kib));
  RecordProperty("guest_kib", static_cast<int>(available_before - available));
}

}  // namespace
}  // namespace hmvm::test
