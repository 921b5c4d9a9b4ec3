#include "vmm/kvm/host_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string>

#include "base/mapping.h"

namespace hmvm {
namespace {

// Natively the loop takes under 10 us, interpreted about 2.5 ms. A native loop may be preempted, so that a
// slow one is tried again.
constexpr uint64_t kEmulatedAboveNs = 200'000;
constexpr int kRuns = 2;
constexpr uint32_t kProbeIterations = 2000;

// 64-bit code; page tables that map the first 2 MiB to themselves lie behind it.
constexpr uint64_t kCodeAddress = 0x1000;
constexpr uint64_t kTablesAddress = 0x2000;
constexpr uint64_t kMemoryBytes = 0x5000;
constexpr uint8_t kDonePort = 0x10;
constexpr auto kCode = std::to_array<uint8_t>({
    0xe6, kDonePort,                                                          // out %al, $kDonePort
    0xb9, kProbeIterations & 0xff, kProbeIterations >> 8 & 0xff, 0x00, 0x00,  // mov $kProbeIterations, %ecx
    0xff, 0xc9,                                                               // 1: dec %ecx
    0x75, 0xfc,                                                               // jnz 1b
    0xeb, 0xf3,                                                               // jmp to the start
});

void WriteGuest(const Mapping& memory) {
  const auto put = [&](uint64_t address, const auto& value) {
    std::memcpy(memory.data() + address, &value, sizeof(value));
  };
  constexpr uint64_t kPresentWritable = 3;
  constexpr uint64_t kLargePage = 0x80;
  put(kCodeAddress, kCode);
  put(kTablesAddress, (kTablesAddress + 0x1000) | kPresentWritable);
  put(kTablesAddress + 0x1000, (kTablesAddress + 0x2000) | kPresentWritable);
  put(kTablesAddress + 0x2000, kLargePage | kPresentWritable);
}

Result<> EnterLongMode(const Vcpu& vcpu) {
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu.Sregs());
  sregs.cr0 = 0x80000001;  // PG, PE
  sregs.cr3 = kTablesAddress;
  sregs.cr4 = 0x20;    // PAE
  sregs.efer = 0x500;  // LMA, LME
  kvm_segment code = {};
  code.limit = 0xffffffff;
  code.selector = 0x8;
  code.type = 0xb;
  code.present = code.s = code.l = code.g = 1;
  sregs.cs = code;
  kvm_segment data = code;
  data.selector = 0x10;
  data.type = 0x3;
  data.l = 0;
  data.db = 1;
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
  HMVM_TRY(vcpu.SetSregs(sregs));
  kvm_regs regs = {};
  regs.rip = kCodeAddress;
  regs.rflags = 2;
  return vcpu.SetRegs(regs);
}

Result<> RunToPort(Vcpu& vcpu) {
  for (;;) {
    HMVM_TRY_ASSIGN(const bool exited, vcpu.Run());
    if (!exited) continue;
    const kvm_run& run = vcpu.run();
    if (run.exit_reason == KVM_EXIT_IO && run.io.port == kDonePort) return {};
    return Error{0, "host probe: unexpected exit reason " + std::to_string(run.exit_reason) + " of KVM_RUN"};
  }
}

// The time of kProbeIterations iterations in ring 0 of a throw-away VM, the best of kRuns.
Result<uint64_t> MeasureRing0(const Kvm& kvm) {
  HMVM_TRY_ASSIGN(const Mapping memory, Mapping::Anonymous(kMemoryBytes));
  WriteGuest(memory);
  HMVM_TRY_ASSIGN(const Vm vm, kvm.CreateVm());
  HMVM_TRY(vm.SetMemory(0, 0, memory.bytes()));
  HMVM_TRY_ASSIGN(Vcpu vcpu, vm.CreateVcpu(0));
  HMVM_TRY(EnterLongMode(vcpu));
  HMVM_TRY(RunToPort(vcpu));
  uint64_t best_ns = UINT64_MAX;
  for (int i = 0; i < kRuns && best_ns > kEmulatedAboveNs; ++i) {
    const auto started = std::chrono::steady_clock::now();
    HMVM_TRY(RunToPort(vcpu));
    best_ns = std::min(best_ns, static_cast<uint64_t>((std::chrono::steady_clock::now() - started).count()));
  }
  return best_ns;
}

struct NeededCapability {
  int capability;
  const char* name;
  const char* serves;
};
constexpr NeededCapability kHardwareNeeds[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controllers in the kernel"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "device interrupts without a system call"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "device notifications without an exit"},
    {KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", "the guest's timer"},
};

}  // namespace

std::string HostProbe::BestPlatform() const {
  if (hardware_usable && !emulated_ring0) return "hardware";
  return ring3_usable ? "ring3" : "";
}

Result<HostProbe> ProbeHost(const Kvm& kvm) {
  using Verdict = HostFinding::Verdict;
  HMVM_TRY_ASSIGN(const uint64_t loop_ns, MeasureRing0(kvm));
  HostProbe probe;
  probe.emulated_ring0 = loop_ns > kEmulatedAboveNs;
  probe.ring3_usable = probe.emulated_ring0;
  probe.findings.push_back(
      {.name = "guest ring 0",
       .value =
           std::to_string(loop_ns / 1000) + " us for " + std::to_string(kProbeIterations) + " iterations",
       .meaning = probe.emulated_ring0 ? "KVM interprets it: guests run their kernel in ring 3"
                                       : "runs on the processor: guests run on the hardware platform",
       .verdict = probe.emulated_ring0 ? Verdict::kNote : Verdict::kOk});

  probe.hardware_usable = true;
  for (const NeededCapability& need : kHardwareNeeds) {
    const bool present = kvm.Capability(need.capability) != 0;
    if (!present) probe.hardware_usable = false;
    probe.findings.push_back({.name = need.name,
                              .value = present ? "present" : "missing",
                              .meaning = need.serves,
                              .verdict = present ? Verdict::kOk : Verdict::kMissing});
  }
  return probe;
}

}  // namespace hmvm
