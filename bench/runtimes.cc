#include "bench/runtimes.h"

#include <cstdlib>
#include <fstream>

#include "base/process.h"
#include "bench/measure.h"

namespace hmvm::bench {
namespace fs = std::filesystem;
namespace {

constexpr char kRunc[] = "/usr/sbin/runc";
constexpr char kRunsc[] = "/usr/bin/runsc";

// /tmp is in memory, as all that is written is in a container of hmvm's.
std::string BundleConfig(const std::string& arguments) {
  return R"({"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":)" + arguments +
         R"(,"cwd":"/","env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},)"
         R"("root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},)"
         R"({"destination":"/tmp","type":"tmpfs","source":"tmpfs"},)"
         R"({"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}],)"
         R"("linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]}})";
}

}  // namespace

Command operator+(Command front, const Command& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

std::string Must(const Command& command) {
  const auto result = RunCommand(command);
  if (!result.has_value()) Fail(result.error().Message());
  if (result->exit_code != 0) Fail("'" + command[0] + "' failed: " + result->output);
  return result->output;
}

std::string LastLine(const std::string& output) {
  const std::string text = output.substr(0, output.find_last_not_of('\n') + 1);
  return text.substr(text.rfind('\n') + 1);  // npos + 1 is 0
}

Runtimes::Runtimes() {
  char work[] = "/tmp/hmvm-bench-XXXXXX";
  if (::mkdtemp(work) == nullptr) Fail("mkdtemp");
  dir_ = work;
}

Runtimes::~Runtimes() { fs::remove_all(dir_); }

void Runtimes::Prepare(const fs::path& layout, const std::string& image, const std::string& arguments) const {
  fs::create_directory(dir_ / "rootfs");
  Must({"/bin/sh", "-c", "tar -xzf \"$(ls -S \"$1\"/blobs/sha256/* | head -n 1)\" -C \"$2\"", "sh", layout,
        dir_ / "rootfs"});
  std::ofstream(dir_ / "config.json") << BundleConfig(arguments);
  Must(Hmvm() + Command{"image", "import", "--name", image, layout});
}

Command Runtimes::Hmvm() const {
  return {std::string(HMVM_BUILD_DIR) + "/bin/hmvm", "--root", dir_ / "root", "--run-root", dir_ / "run"};
}

Command Runtimes::Runc() const {
  if (!fs::exists(kRunc)) return {};
  return {kRunc, "--root", dir_ / "runc"};
}

Command Runtimes::Runsc() const {
  if (!fs::exists(kRunsc)) return {};
  return {kRunsc, "--network=none", "--ignore-cgroups", "--root", dir_ / "runsc"};
}

}  // namespace hmvm::bench
