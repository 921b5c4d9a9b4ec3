#include "tests/support/sandbox.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

constexpr int kQuietDownMs = 20'000;

std::string ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // unlike a stream's iterators, no exception where a process goes between open and
                         // read
  return text.str();
}

std::vector<pid_t> AllProcesses() {
  std::vector<pid_t> pids;
  std::error_code gone;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", gone)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos) pids.push_back(std::stoi(name));
  }
  return pids;
}

// The words of a command line with spaces between them; empty for zombies, kernel threads and the gone.
std::string CommandLine(pid_t pid) {
  std::string line = ReadText("/proc/" + std::to_string(pid) + "/cmdline");
  std::replace(line.begin(), line.end(), '\0', ' ');
  return line;
}

std::vector<std::string> Mounts() {
  std::vector<std::string> points;
  std::ifstream table("/proc/self/mounts");
  for (std::string device, point, rest; table >> device >> point && std::getline(table, rest);) {
    points.push_back(point);
  }
  return points;
}

// Whether anybody lives in a cgroup of that name, in any hierarchy: version 1 does not show processes of
// other PID namespaces, version 2 shows them as 0.
bool IsLivedIn(const fs::path& dir) {
  std::error_code gone;
  for (const fs::directory_entry& hierarchy : fs::directory_iterator("/sys/fs/cgroup", gone)) {
    if (!ReadText(hierarchy.path() / "hmvm" / dir.filename() / "cgroup.procs").empty()) return true;
  }
  return !ReadText(dir / "cgroup.procs").empty();
}

// Those of hmvm that nobody lives in any more: neither processes nor further cgroups. Another's machine is
// alive.
void FindDeadCgroups(const fs::path& dir, std::vector<std::string>& found) {
  std::error_code gone;
  bool leaf = true;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, gone)) {
    if (!entry.is_directory(gone) || entry.is_symlink(gone)) continue;
    leaf = false;
    FindDeadCgroups(entry.path(), found);
  }
  if (leaf && dir.string().find("hmvm") != std::string::npos && !IsLivedIn(dir)) {
    found.push_back(dir);
  }
}

std::vector<std::string> NetworkDevices() {
  std::vector<std::string> names;
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator("/sys/class/net", none)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("hmvm")) names.push_back(name);
  }
  return names;
}

void ReportNew(const char* kind, const std::vector<std::string>& before, const std::vector<std::string>& now,
               std::vector<std::string>& report) {
  for (const std::string& name : now) {
    if (std::find(before.begin(), before.end(), name) == before.end()) {
      report.push_back(std::string(kind) + " " + name);
    }
  }
}

// All but pid 1 (the harness as init) and this one.
void ReportProcesses(std::vector<std::string>& report) {
  for (const pid_t pid : AllProcesses()) {
    const std::string line = CommandLine(pid);
    if (pid != 1 && pid != ::getpid() && !line.empty())
      report.push_back("process " + std::to_string(pid) + " " + line);
  }
}

// Folder by folder: a recursive_directory_iterator would stop at one that goes while it looks.
void ReportFiles(const fs::path& dir, std::vector<std::string>& report) {
  std::error_code gone;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, gone)) {
    if (entry.is_directory(gone) && !entry.is_symlink(gone))
      ReportFiles(entry.path(), report);
    else
      report.push_back("file " + entry.path().string());
  }
}

}  // namespace

fs::path BuildDir() { return HMVM_BUILD_DIR; }
fs::path SourceDir() { return HMVM_SOURCE_DIR; }
fs::path HmvmProgram() { return BuildDir() / "bin/hmvm"; }
fs::path VmmProgram() { return BuildDir() / "libexec/hmvm/hmvm-vmm"; }
fs::path GuestKernel() { return BuildDir() / "share/hmvm/vmlinux"; }
fs::path GuestInitramfs() { return BuildDir() / "share/hmvm/initramfs.cpio"; }
fs::path BusyboxLayout() { return BuildDir() / "tests/images/busybox"; }

std::string WhyNoGuest() {
  if (::geteuid() != 0) return "not root";
  if (::access("/dev/kvm", R_OK | W_OK) != 0) return "no access to /dev/kvm";
  for (const fs::path& file : {HmvmProgram(), VmmProgram(), GuestKernel(), GuestInitramfs()}) {
    if (!fs::exists(file)) return file.string() + " is not built";
  }
  return "";
}

Sandbox::Sandbox() : mounts_before_(Mounts()), links_before_(NetworkDevices()) {
  char name[] = "/tmp/hmvm-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) {
    ::perror("test harness: mkdtemp");
    std::abort();
  }
  dir_ = name;
  fs::create_directory(dir_ / "tmp");
  ::setenv("TMPDIR", (dir_ / "tmp").c_str(), 1);
  FindDeadCgroups("/sys/fs/cgroup", cgroups_before_);
}

Sandbox::~Sandbox() {
  std::error_code none;
  RemoveContainers();
  // A supervisor outlives `run --rm` by what it has to tidy up, which it could not do if we ended before it.
  WaitUntil(
      [] {
        std::vector<std::string> processes;
        ReportProcesses(processes);
        return processes.empty();
      },
      kQuietDownMs);
  // The guard that came with our containers, unless somebody else's are in its care by now.
  if (!guard_before_ &&
      Hmvm({"guard", "status", "--format", "json"}).out.find("\"machines\": []") != std::string::npos) {
    (void)Hmvm({"guard", "unload"});
  }
  fs::remove_all(dir_, none);
  ::unsetenv("TMPDIR");
}

void Sandbox::RemoveContainers() const {
  std::error_code none;
  if (fs::exists(root() / "containers", none)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(root() / "containers", none)) {
      (void)Hmvm({"rm", "-f", entry.path().filename()});
    }
  }
}

std::vector<std::string> Sandbox::Command(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {HmvmProgram(), "--root", root(), "--run-root", run_root()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

Outcome Sandbox::Hmvm(const std::vector<std::string>& arguments, std::string_view input) const {
  return RunProgram(Command(arguments), input);
}

std::string Sandbox::MustHmvm(const std::vector<std::string>& arguments) const {
  Outcome outcome = Hmvm(arguments);
  std::string line;
  for (const std::string& word : arguments) line += " " + word;
  EXPECT_EQ(outcome.exit_code, 0) << "hmvm" << line << "\n" << Describe(outcome);
  if (outcome.out.ends_with('\n')) outcome.out.pop_back();
  return outcome.out;
}

void Sandbox::ImportBusybox() const { MustHmvm({"image", "import", "--name", "busybox", BusyboxLayout()}); }

std::vector<std::string> Sandbox::LeftoversNow() const {
  std::vector<std::string> report;
  ReportProcesses(report);
  ReportFiles(run_root(), report);
  ReportFiles(root() / "containers", report);
  ReportFiles(dir_ / "tmp", report);
  ReportNew("mount", mounts_before_, Mounts(), report);
  ReportNew("network device", links_before_, NetworkDevices(), report);
  std::vector<std::string> cgroups;
  FindDeadCgroups("/sys/fs/cgroup", cgroups);
  ReportNew("cgroup", cgroups_before_, cgroups, report);
  return report;
}

std::vector<std::string> Sandbox::Leftovers() const {
  std::vector<std::string> report;
  WaitUntil([&] { return (report = LeftoversNow()).empty(); }, kQuietDownMs);
  return report;
}

std::vector<pid_t> FindProcesses(std::string_view word) {
  std::vector<pid_t> found;
  for (const pid_t pid : AllProcesses()) {
    if (pid != ::getpid() && CommandLine(pid).find(word) != std::string::npos) found.push_back(pid);
  }
  return found;
}

bool ProcessExists(pid_t pid) { return !CommandLine(pid).empty(); }

}  // namespace hmvm::test
