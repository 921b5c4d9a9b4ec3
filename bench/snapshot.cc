// Snapshots of a guest that writes to its memory meanwhile (tests/guest/memory_check.cc): how long it stands
// still for a full, a live and a diff one, by the size of its memory and by how many snapshots there were
// before; what a diff costs by what has changed; and how soon a machine runs that goes on from one.
#include <unistd.h>

#include <filesystem>

#include <gflags/gflags.h>

#include "base/file.h"
#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_string(sizes_mib, "128,512,1024,4096", "guest memory; three quarters of it are filled");
DEFINE_uint32(pages_per_ms, 2, "what the guest writes");
DEFINE_uint32(rounds, 20, "live snapshots of each machine, a multiple of 5");
DEFINE_uint32(restores, 5, "of each kind");
DEFINE_string(folder, "", "where the snapshots go; a temporary folder by default");

namespace hmvm::bench {
namespace {

namespace fs = std::filesystem;

fs::path MakeFolder() {
  std::string pattern =
      (FLAGS_folder.empty() ? fs::temp_directory_path() : fs::path(FLAGS_folder)) / "hmvm-bench-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) Fail("no temporary folder");
  return pattern;
}

test::Machine::Options Options(const fs::path& folder, const char* console) {
  const std::string build = HMVM_BUILD_DIR;
  test::Machine::Options options;
  options.vmm = build + "/libexec/hmvm/hmvm-vmm";
  options.kernel = build + "/share/hmvm/vmlinux";
  options.initramfs = folder / "initrd";
  options.console = folder / console;
  return options;
}

test::Machine Start(const test::Machine::Options& options) {
  auto machine = test::Machine::Start(options);
  if (!machine.has_value()) Fail(machine.error().Message());
  return std::move(*machine);
}

// Blocks until the guest has said `text` on its console.
void WaitFor(const fs::path& console, const std::string& text) {
  const int64_t end_ns = MonotonicNs() + 300'000'000'000;
  while (ReadFile(console).value_or("").find(text) == std::string::npos) {
    if (MonotonicNs() > end_ns) Fail("the guest does not say '" + text + "'");
    ::usleep(1000);
  }
}

struct Taken {
  vmm::v1::SnapshotResponse response;
  double pause_ms = 0;
  double total_ms = 0;
};

Taken Take(test::Machine& machine, const fs::path& folder, const vmm::v1::SnapshotRequest& request) {
  const int64_t start_ns = MonotonicNs();
  auto response = machine.Snapshot(folder, request);
  if (!response.has_value()) Fail(response.error().Message());
  Taken taken = {.response = std::move(*response), .pause_ms = 0, .total_ms = 0};
  taken.pause_ms = static_cast<double>(taken.response.pause_ns()) / 1e6;
  taken.total_ms = static_cast<double>(MonotonicNs() - start_ns) / 1e6;
  return taken;
}

double MiB(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// Pauses of full, live and diff snapshots of a guest of this size.
void MeasurePauses(const fs::path& folder, unsigned mib) {
  test::Machine::Options options = Options(folder, "console");
  options.memory_mib = mib;
  options.command_line = "-- " + std::to_string(mib / 4 * 3 - 24) + " " + std::to_string(FLAGS_pages_per_ms);
  fs::remove(options.console);  // another machine's words are not ours
  test::Machine machine = Start(options);
  WaitFor(options.console, "checked");
  Progress(std::to_string(mib) + " MiB: full");
  const Taken held = Take(machine, folder / "held", {});
  fs::remove_all(folder / "held");
  std::printf("%5u MiB  held full                 %10.2f ms pause %9.0f ms in all %8.1f MiB written\n", mib,
              held.pause_ms, held.total_ms, MiB(held.response.bytes_written()));

  vmm::v1::SnapshotRequest live;
  live.set_live(true);
  // The first of them beside the last: nothing may grow.
  Series pauses("pause", "ms");
  for (uint32_t i = 1; i <= FLAGS_rounds; ++i) {
    Progress(std::to_string(mib) + " MiB: live " + std::to_string(i));
    const fs::path to = folder / "live";
    const Taken taken = Take(machine, to, live);
    fs::remove_all(to);
    pauses.Add(taken.pause_ms);
    if (i % 5 != 0) continue;
    std::printf(
        "%5u MiB  live full, %2u. to %2u.     %10.2f ms pause, median (longest %.2f) %6.0f ms in all %8.1f "
        "MiB "
        "written, %lu rounds, %lu pages left\n",
        mib, i - 4, i, pauses.Median(), pauses.Percentile(100), taken.total_ms,
        MiB(taken.response.bytes_written()), static_cast<unsigned long>(taken.response.rounds()),
        static_cast<unsigned long>(taken.response.paused_pages()));
    pauses = Series("pause", "ms");
  }

  Taken last = Take(machine, folder / "parent", {});
  fs::remove_all(folder / "parent");
  for (const unsigned wait_ms : {0U, 100U, 1000U}) {
    ::usleep(wait_ms * 1000);
    vmm::v1::SnapshotRequest diff;
    diff.set_diff_of(last.response.memory_id());
    last = Take(machine, folder / "diff", diff);
    fs::remove_all(folder / "diff");
    std::printf("%5u MiB  held diff after %4u ms     %8.2f ms pause %9.0f ms in all %8.1f MiB written\n", mib,
                wait_ms, last.pause_ms, last.total_ms, MiB(last.response.bytes_written()));
  }
  std::fflush(stdout);
  machine.Stop();
}

// Process start to the first guest instruction, and to the guest's next sign of life.
void MeasureRestore(const fs::path& folder, const char* name, test::Machine::Options options) {
  Series first(std::string(name) + ": start to first guest instruction", "ms");
  Series alive(std::string(name) + ": start to the guest's next line", "ms");
  for (uint32_t i = 0; i < FLAGS_restores; ++i) {
    options.console = folder / "restored";
    fs::remove(options.console);
    const int64_t start_ns = MonotonicNs();
    test::Machine machine = Start(options);
    WaitFor(options.console, "checked");
    alive.Add(static_cast<double>(MonotonicNs() - start_ns) / 1e6);
    const auto said = machine.Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());
    if (!said.has_value()) Fail(said.error().Message());
    first.Add(static_cast<double>(static_cast<int64_t>(said->running_monotonic_ns()) - start_ns) / 1e6);
    machine.Stop();
  }
  PrintTable({&first, &alive});
}

void MeasureRestores(const fs::path& folder, unsigned mib) {
  test::Machine::Options options = Options(folder, "console");
  options.memory_mib = mib;
  options.command_line = "-- " + std::to_string(mib / 4 * 3 - 24) + " " + std::to_string(FLAGS_pages_per_ms);
  fs::remove(options.console);
  test::Machine machine = Start(options);
  WaitFor(options.console, "checked");
  Take(machine, folder / "snapshot", {});
  machine.Stop();
  const std::string tool = std::string(HMVM_BUILD_DIR) + "/libexec/hmvm/hmvm-snapshot";
  const int64_t start_ns = MonotonicNs();
  Process::Options exporter{.arguments = {tool, "export", folder / "web.zst", folder / "snapshot"}};
  auto process = Process::Start(exporter);
  if (!process.has_value() || process->Wait().value_or(-1) != 0) Fail("hmvm-snapshot export");
  std::printf("%5u MiB  export %.0f ms, %.1f MiB\n", mib, static_cast<double>(MonotonicNs() - start_ns) / 1e6,
              MiB(fs::file_size(folder / "web.zst")));
  std::fflush(stdout);
  options.restore = folder / "snapshot";
  MeasureRestore(folder, "mapped", options);
  options.restore_archive = folder / "web.zst";
  MeasureRestore(folder, "unpacked on touch", options);
  fs::remove_all(folder / "snapshot");
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/snapshot: a guest that writes " + std::to_string(FLAGS_pages_per_ms) +
               " pages a millisecond");
  const fs::path folder = MakeFolder();
  Process::Options make{.arguments = {std::string(HMVM_SOURCE_DIR) + "/guest/initramfs/make-initramfs",
                                      std::string(HMVM_BUILD_DIR) + "/tests/memory_check",
                                      folder / "initrd"}};
  auto made = Process::Start(make);
  if (!made.has_value() || made->Wait().value_or(-1) != 0) Fail("make-initramfs");
  std::string sizes = FLAGS_sizes_mib + ",";
  for (size_t start = 0; start < sizes.size(); start = sizes.find(',', start) + 1) {
    const auto mib = static_cast<unsigned>(std::stoul(sizes.substr(start)));
    MeasurePauses(folder, mib);
  }
  MeasureRestores(folder, 512);
  fs::remove_all(folder);
}

}  // namespace hmvm::bench
