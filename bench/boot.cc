// From the start of a VMM process to the first sign of life of its guest: hmvm-vmm to the agent's first
// answer, and, with --hello, hmvm-vmm and QEMU's microvm machine to the first line of the same init under the
// same kernel.
#include <cstdio>

#include <gflags/gflags.h>

#include "bench/hello.h"
#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_uint32(count, 30, "boots to the agent's answer");
DEFINE_uint32(memory_mib, 128, "guest memory");
DEFINE_string(platform, "auto", "auto, hardware or ring3");
DEFINE_string(kernel, "", "default: the kernel of the build");

namespace hmvm::bench {
namespace {

constexpr double kNsPerMs = 1e6;

std::string BuildPath(const std::string& name) { return std::string(HMVM_BUILD_DIR) + "/" + name; }

void BootToAgent(std::vector<Series>& table) {
  Series wall("hmvm: start to the agent's answer", "ms"),
      vmm("  of it the VMM's set-up: main() to the first KVM_RUN", "ms"),
      guest("  of it the guest, by its own clock", "ms"), cpu("processor time, VMM and guest", "ms");
  std::string platform;
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    Progress("boot " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_count));
    test::Machine::Options options;
    options.vmm = BuildPath("libexec/hmvm/hmvm-vmm");
    options.kernel = FLAGS_kernel.empty() ? BuildPath("share/hmvm/vmlinux") : FLAGS_kernel;
    options.initramfs = BuildPath("share/hmvm/initramfs.cpio");
    options.memory_mib = FLAGS_memory_mib;
    options.platform = FLAGS_platform;
    const int64_t start_ns = MonotonicNs();
    Result<test::Machine> machine = test::Machine::Start(options);
    if (!machine.has_value()) Fail(machine.error().Message());
    const auto agent = machine->Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
    const int64_t ready_ns = MonotonicNs();
    const int64_t cpu_ns = CpuTimeNs(machine->pid());
    if (!agent.has_value()) Fail("the agent does not answer: " + agent.error().Message());
    const auto described =
        machine->Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());
    if (!described.has_value()) Fail("the VMM does not answer: " + described.error().Message());
    wall.Add(static_cast<double>(ready_ns - start_ns) / kNsPerMs);
    vmm.Add(static_cast<double>(described->running_monotonic_ns() - described->started_monotonic_ns()) /
            kNsPerMs);
    guest.Add(static_cast<double>(agent->ready_monotonic_ns()) / kNsPerMs);
    cpu.Add(static_cast<double>(cpu_ns) / kNsPerMs);
    platform = described->platform();
    machine->Stop();
  }
  std::printf("platform: %s, %u MiB, 1 vCPU\n", platform.c_str(), FLAGS_memory_mib);
  for (Series* series : {&wall, &vmm, &guest, &cpu}) table.push_back(std::move(*series));
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/boot");
  std::vector<Series> table;
  if (FLAGS_count > 0) BootToAgent(table);
  BootToHello(FLAGS_memory_mib, table);
  std::vector<const Series*> rows;
  for (const Series& series : table) rows.push_back(&series);
  PrintTable(rows);
}

}  // namespace hmvm::bench
