// From the start of a VMM process to the first instruction of a restored guest, and to its agent's answer.
#include <cstdio>
#include <filesystem>

#include <gflags/gflags.h>

#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_uint32(count, 50, "restores");
DEFINE_uint32(memory_mib, 128, "guest memory");
DEFINE_uint32(cpus, 1, "vCPUs");
DEFINE_bool(memory_verified, true,
            "as from the second restore of a template on: its memory is not checksummed");
DEFINE_string(kernel, "", "default: the kernel of the build");

namespace hmvm::bench {
namespace {

namespace fs = std::filesystem;

constexpr double kNsPerMs = 1e6;

fs::path BuildPath(const std::string& name) { return fs::path(HMVM_BUILD_DIR) / name; }

template <typename T>
T OrFail(Result<T> result, const std::string& what) {
  if (!result.has_value()) Fail(what + ": " + result.error().Message());
  return std::move(*result);
}

agent::v1::DescribeResponse AskAgent(test::Machine& machine) {
  return OrFail(machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest()),
                "the agent does not answer");
}

// A booted guest, its agent at rest, as a snapshot in `folder`.
void MakeSnapshot(const test::Machine::Options& options, const fs::path& folder, std::vector<Series>& table) {
  Series pause("snapshot: the guest held", "ms"), size("snapshot: bytes written", "MiB");
  test::Machine machine = OrFail(test::Machine::Start(options), "hmvm-vmm");
  AskAgent(machine);
  const auto taken = OrFail(machine.Snapshot(folder), "snapshot");
  pause.Add(static_cast<double>(taken.pause_ns()) / kNsPerMs);
  size.Add(static_cast<double>(taken.bytes_written()) / (1 << 20));
  machine.Stop();
  table.push_back(std::move(pause));
  table.push_back(std::move(size));
}

void Restore(test::Machine::Options options, std::vector<Series>& table) {
  Series wall("restore: process start to the agent's answer", "ms"), loaded("  of it: to main()", "ms"),
      restored("  of it: main() to the first KVM_RUN", "ms"),
      answered("  of it: the first KVM_RUN to the answer", "ms"), second("the agent's second answer", "ms"),
      cpu("processor time, VMM and guest", "ms");
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    Progress("restore " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_count));
    const int64_t start_ns = MonotonicNs();
    test::Machine machine = OrFail(test::Machine::Start(options), "hmvm-vmm");
    AskAgent(machine);
    const int64_t first_ns = MonotonicNs();
    AskAgent(machine);
    const int64_t second_ns = MonotonicNs();
    cpu.Add(static_cast<double>(CpuTimeNs(machine.pid())) / kNsPerMs);
    const auto vmm =
        OrFail(machine.Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest()), "the VMM");
    const auto main_ns = static_cast<int64_t>(vmm.started_monotonic_ns());
    const auto run_ns = static_cast<int64_t>(vmm.running_monotonic_ns());
    wall.Add(static_cast<double>(first_ns - start_ns) / kNsPerMs);
    loaded.Add(static_cast<double>(main_ns - start_ns) / kNsPerMs);
    restored.Add(static_cast<double>(run_ns - main_ns) / kNsPerMs);
    answered.Add(static_cast<double>(first_ns - run_ns) / kNsPerMs);
    second.Add(static_cast<double>(second_ns - first_ns) / kNsPerMs);
    machine.Stop();
  }
  for (Series* series : {&wall, &loaded, &restored, &answered, &second, &cpu}) {
    table.push_back(std::move(*series));
  }
}

}  // namespace

void Main(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) Fail("unexpected argument '" + arguments[0] + "'");
  PrintMachine("restore");
  char work[] = "/tmp/hmvm-bench-XXXXXX";
  if (::mkdtemp(work) == nullptr) Fail("mkdtemp");
  test::Machine::Options options;
  options.vmm = BuildPath("libexec/hmvm/hmvm-vmm");
  options.kernel = FLAGS_kernel.empty() ? BuildPath("share/hmvm/vmlinux") : fs::path(FLAGS_kernel);
  options.initramfs = BuildPath("share/hmvm/initramfs.cpio");
  options.memory_mib = FLAGS_memory_mib;
  options.cpus = FLAGS_cpus;
  const fs::path folder = fs::path(work) / "snapshot";
  std::vector<Series> table;
  MakeSnapshot(options, folder, table);
  options.restore = folder;
  options.memory_verified = FLAGS_memory_verified;
  Restore(options, table);
  fs::remove_all(work);
  std::vector<const Series*> rows;
  for (const Series& series : table) rows.push_back(&series);
  PrintTable(rows);
}

}  // namespace hmvm::bench
