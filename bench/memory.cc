// What a VMM costs beside its guest's memory: private pages of hmvm-vmm, guest memory left out. The aim is 5
// MiB.
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <vector>

#include <gflags/gflags.h>

#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_uint32(count, 5, "VMs to measure, one after the other");
DEFINE_uint32(memory_mib, 128, "guest memory");
DEFINE_string(platform, "auto", "auto, hardware or ring3");

namespace hmvm::bench {
namespace {

struct VmaUsage {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t private_kib = 0;
};

std::vector<VmaUsage> ReadMappings(pid_t pid) {
  std::vector<VmaUsage> mappings;
  std::ifstream smaps("/proc/" + std::to_string(pid) + "/smaps");
  for (std::string line; std::getline(smaps, line);) {
    VmaUsage mapping;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " ", &mapping.start, &mapping.end) == 2) {
      mappings.push_back(mapping);
    }
    uint64_t kib = 0;
    if (std::sscanf(line.c_str(), "Private_Clean: %" SCNu64, &kib) == 1 ||
        std::sscanf(line.c_str(), "Private_Dirty: %" SCNu64, &kib) == 1) {
      mappings.back().private_kib += kib;
    }
  }
  return mappings;
}

struct Usage {
  double overhead_kib = 0;
  double guest_kib = 0;
};

// Guest memory has no name in smaps: it is the neighbours, one or several, that have its size together.
Usage Measure(pid_t pid, uint64_t guest_bytes) {
  const std::vector<VmaUsage> mappings = ReadMappings(pid);
  double all_kib = 0;
  for (const VmaUsage& mapping : mappings) all_kib += static_cast<double>(mapping.private_kib);
  for (size_t first = 0; first < mappings.size(); ++first) {
    double guest_kib = 0;
    uint64_t end = mappings[first].start;
    for (size_t i = first; i < mappings.size() && mappings[i].start == end; ++i) {
      end = mappings[i].end;
      guest_kib += static_cast<double>(mappings[i].private_kib);
      if (end - mappings[first].start == guest_bytes) return {all_kib - guest_kib, guest_kib};
    }
  }
  Fail("no mappings of the guest's size in the VMM");
}

}  // namespace

void Main(const std::vector<std::string>&) {
  const std::string build = HMVM_BUILD_DIR;
  PrintMachine("bench/memory: hmvm-vmm with a guest of " + std::to_string(FLAGS_memory_mib) +
               " MiB, agent ready");
  Series overhead("private, without guest memory", "KiB");
  Series guest("guest memory in use", "MiB");
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    Progress("machine " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_count));
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
    const Usage usage = Measure(machine->pid(), uint64_t{FLAGS_memory_mib} << 20);
    overhead.Add(usage.overhead_kib);
    guest.Add(usage.guest_kib / 1024);
    machine->Stop();
  }
  PrintTable({&overhead, &guest});
}

}  // namespace hmvm::bench
