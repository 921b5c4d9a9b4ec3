#include "tests/support/side_by_side.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

// Both sides have it, and a line of their own for it in /etc/hosts where they write one.
constexpr char kHostname[] = "judge";

// The same container under runc: the specification that hmvm's defaults come to.
std::string RuncConfig(const fs::path& rootfs) {
  const std::string capabilities =
      R"(["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETGID","CAP_SETUID","CAP_SETPCAP",)"
      R"("CAP_NET_BIND_SERVICE","CAP_NET_RAW","CAP_SYS_CHROOT","CAP_MKNOD","CAP_AUDIT_WRITE","CAP_SETFCAP"])";
  return R"({"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0,"additionalGids":[0]},"args":["sleep","1000000"],"cwd":"/","env":[)"
         R"("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/root","HOSTNAME=judge"],)"
         R"("capabilities":{"bounding":)" +
         capabilities + R"(,"effective":)" + capabilities + R"(,"permitted":)" + capabilities +
         R"(}},"root":{"path":")" + rootfs.string() +
         R"("},"hostname":"judge","mounts":[{"destination":"/proc","type":"proc","source":"proc"},)"
         R"({"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},)"
         R"({"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},)"
         R"({"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=65536k"]},)"
         R"({"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}],)"
         R"("linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}],)"
         R"("maskedPaths":["/proc/kcore","/proc/keys","/proc/timer_list"],)"
         R"("readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]}})";
}

// The layer: the largest of an image's blobs.
fs::path Largest(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) files.push_back(entry.path());
  return *std::max_element(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return fs::file_size(a) < fs::file_size(b);
  });
}

}  // namespace

std::string SideBySide::WhyNot() {
  if (const std::string why = WhyNoGuest(); !why.empty()) return why;
  for (const char* program : {"/usr/sbin/debootstrap", "/usr/sbin/runc"}) {
    if (!fs::exists(program)) return std::string(program) + " is missing";
  }
  return "";
}

SideBySide::~SideBySide() { RunProgram(Runc({"delete", "--force", RuncId()})); }

void SideBySide::StartRunc(const std::string& image) {
  Outcome made = RunProgram({SourceDir() / "tests/images/make-debian", image}, "", kBuildPatienceMs);
  ASSERT_EQ(made.exit_code, 0) << Describe(made);
  made.out.pop_back();  // the newline
  const fs::path layout = made.out, rootfs = sandbox_.dir() / "rootfs";
  sandbox_.MustHmvm({"image", "import", "--name", "debian", layout});
  fs::create_directory(rootfs);
  const Outcome unpacked = RunProgram({"tar", "-xzf", Largest(layout / "blobs/sha256"), "-C", rootfs});
  ASSERT_EQ(unpacked.exit_code, 0) << Describe(unpacked);
  std::ofstream(sandbox_.dir() / "config.json") << RuncConfig(rootfs);
  const Outcome run = RunProgram(Runc({"run", "-d", "--bundle", sandbox_.dir(), RuncId()}));
  ASSERT_EQ(run.exit_code, 0) << Describe(run);
}

void SideBySide::StartGuest(const std::string& name, const std::vector<std::string>& options) {
  std::vector<std::string> run = {"run", "-d", "--name", name, "--hostname", kHostname};
  run.insert(run.end(), options.begin(), options.end());
  run.insert(run.end(), {"debian", "sleep", "1000000"});
  sandbox_.MustHmvm(run);
}

Outcome SideBySide::InGuest(const std::string& name, const std::vector<std::string>& command,
                            std::string_view input) const {
  std::vector<std::string> exec = {"exec", "-i", name};
  exec.insert(exec.end(), command.begin(), command.end());
  return sandbox_.Hmvm(exec, input);
}

Outcome SideBySide::UnderRunc(const std::vector<std::string>& command, std::string_view input) const {
  std::vector<std::string> exec = {"exec", RuncId()};
  exec.insert(exec.end(), command.begin(), command.end());
  return RunProgram(Runc(exec), input);
}

// runc's cgroups are the host's: an id of this run alone.
std::string SideBySide::RuncId() const { return sandbox_.dir().filename(); }

std::vector<std::string> SideBySide::Runc(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"runc", "--root", sandbox_.dir() / "runc"});
  return arguments;
}

}  // namespace hmvm::test
