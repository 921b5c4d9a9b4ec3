// What a VMM costs beside its guest's memory: private pages of hmvm-vmm, guest memory left out. The aim is 5
// MiB.
#include <cstdio>
#include <fstream>
#include <sstream>

#include <gflags/gflags.h>

#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_uint32(count, 5, "VMs to measure, one after the other");
DEFINE_uint32(memory_mib, 128, "guest memory");
DEFINE_string(platform, "auto", "auto, hardware or ring3");

namespace hmvm::bench {
namespace {

struct Usage {
  double overhead_kib = 0;
  double guest_kib = 0;
};

Usage Measure(pid_t pid, uint64_t guest_memory_kib) {
  Usage usage;
  std::ifstream smaps("/proc/" + std::to_string(pid) + "/smaps");
  uint64_t mapping_kib = 0;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t kib = 0;
    if (!(words >> key >> kib)) continue;  // a mapping's first line, or one of names
    if (key == "Size:") mapping_kib = kib;
    if (key != "Private_Clean:" && key != "Private_Dirty:") continue;
    // Guest memory is one mapping, by far larger than anything else.
    (mapping_kib >= guest_memory_kib ? usage.guest_kib : usage.overhead_kib) += static_cast<double>(kib);
  }
  return usage;
}

int Main() {
  const std::string build = HMVM_BUILD_DIR;
  PrintMachine("bench/memory: hmvm-vmm with a guest of " + std::to_string(FLAGS_memory_mib) +
               " MiB, agent ready");
  Series overhead("private, without guest memory", "KiB");
  Series guest("guest memory in use", "KiB");
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    test::Machine::Options options;
    options.vmm = build + "/libexec/hmvm/hmvm-vmm";
    options.kernel = build + "/share/hmvm/vmlinux";
    options.initramfs = build + "/share/hmvm/initramfs.cpio";
    options.memory_mib = FLAGS_memory_mib;
    options.platform = FLAGS_platform;
    Result<test::Machine> machine = test::Machine::Start(options);
    if (!machine.has_value()) Fail(machine.error().Message());
    const auto agent = machine->Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
    if (!agent.has_value()) Fail("the agent does not answer: " + agent.error().Message());
    const Usage usage = Measure(machine->pid(), uint64_t{FLAGS_memory_mib} << 10);
    overhead.Add(usage.overhead_kib);
    guest.Add(usage.guest_kib);
    machine->Stop();
  }
  PrintTable({&overhead, &guest});
  return 0;
}

}  // namespace
}  // namespace hmvm::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return hmvm::bench::Main();
}
