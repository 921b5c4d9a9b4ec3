// A whole `hmvm run --rm IMAGE true` beside runc and runsc on the same root file system, interleaved, so that
// what else the machine does meets all of them alike. runc and runsc get an unpacked bundle: they make no
// layers of it.
#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gflags/gflags.h>

#include "base/file.h"
#include "base/process.h"
#include "bench/measure.h"

DEFINE_uint32(count, 20, "runs of each runtime");

namespace hmvm::bench {
namespace fs = std::filesystem;
namespace {

struct Contender {
  Series wall;
  std::vector<std::string> command;
};

std::string Must(const std::vector<std::string>& command) {
  const auto result = RunCommand(command);
  if (!result.has_value()) Fail(result.error().Message());
  if (result->exit_code != 0) Fail("'" + command[0] + "' failed: " + result->output);
  return result->output;
}

std::string BundleConfig() {
  return R"({"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["true"],"cwd":"/","env":["PATH=/bin"]},)"
         R"("root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},)"
         R"({"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}],)"
         R"("linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]}})";
}

int Main() {
  const fs::path build = HMVM_BUILD_DIR, source = HMVM_SOURCE_DIR;
  PrintMachine("bench/run: from the command's start to its end, 'true' of the busybox image");
  char work[] = "/tmp/hmvm-bench-XXXXXX";
  if (::mkdtemp(work) == nullptr) Fail("mkdtemp");
  const fs::path dir = work, rootfs = dir / "rootfs";
  fs::create_directory(rootfs);
  Must({source / "images/make-busybox", "-o", dir});
  Must({"/bin/sh", "-c", "tar -xzf \"$(ls -S \"$1\"/busybox/blobs/sha256/* | head -n 1)\" -C \"$2\"", "sh",
        dir, rootfs});
  std::ofstream(dir / "config.json") << BundleConfig();
  const std::vector<std::string> hmvm = {build / "bin/hmvm", "--root", dir / "root", "--run-root",
                                         dir / "run"};
  const auto with = [](std::vector<std::string> front, const std::vector<std::string>& back) {
    front.insert(front.end(), back.begin(), back.end());
    return front;
  };
  Must(with(hmvm, {"image", "import", "--name", "busybox", dir / "busybox"}));

  std::vector<Contender> contenders;
  if (fs::exists("/usr/sbin/runc")) {
    contenders.push_back({Series("runc run", "ms"),
                          {"/usr/sbin/runc", "--root", dir / "runc", "run", "--bundle", dir, "bench"}});
  }
  if (fs::exists("/usr/bin/runsc")) {
    contenders.push_back({Series("runsc run, ptrace", "ms"),
                          {"/usr/bin/runsc", "--platform=ptrace", "--network=none", "--ignore-cgroups",
                           "--root", dir / "runsc", "run", "--bundle", dir, "bench"}});
  }
  contenders.push_back({Series("hmvm run --rm", "ms"), with(hmvm, {"run", "--rm", "busybox", "true"})});
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (Contender& contender : contenders) {
      const int64_t start_ns = MonotonicNs();
      Must(contender.command);
      // The first round fills caches and is not counted.
      if (i > 0) contender.wall.Add(static_cast<double>(MonotonicNs() - start_ns) / 1e6);
    }
  }
  fs::remove_all(dir);
  std::vector<const Series*> rows;
  for (const Contender& contender : contenders) rows.push_back(&contender.wall);
  PrintTable(rows);
  return 0;
}

}  // namespace
}  // namespace hmvm::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return hmvm::bench::Main();
}
