#include "vmm/kvm/host_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>

#include "vmm/kvm/probe_code.h"

namespace hmvm {
namespace {

using Clock = std::chrono::steady_clock;

// Native needs about 1 us for the loop, interpretation 300 to 600; a preempted native loop is rare and
// harmless.
constexpr auto kEmulatedLine = std::chrono::microseconds(100);
// For guest code that never comes back: a KVM that behaves as no other we know.
constexpr auto kPatience = std::chrono::milliseconds(250);

// The throw-away machine, guest-physical, mapped one to one and user-accessible.
constexpr uint64_t kMemoryBytes = 0x10000;
constexpr uint64_t kLevel4 = 0x1000;
constexpr uint64_t kLevel3 = 0x2000;
constexpr uint64_t kLevel2 = 0x3000;
constexpr uint64_t kGdt = 0x4000;
constexpr uint64_t kIdt = 0x5000;
constexpr uint64_t kTss = 0x6000;
constexpr uint64_t kRing0Stack = 0x8000;
constexpr uint64_t kRing3Stack = 0x9000;
constexpr uint64_t kProbeCode = 0xa000;

constexpr uint16_t kKernelCode = 0x10;
constexpr uint16_t kKernelData = 0x18;
constexpr uint16_t kUserData = 0x2b;
constexpr uint16_t kUserCode = 0x33;
constexpr uint16_t kTaskState = 0x40;

struct Capability {
  int number;
  const char* name;
};
constexpr Capability kCommonCapabilities[] = {
    {KVM_CAP_USER_MEMORY, "USER_MEMORY"},       {KVM_CAP_EXT_CPUID, "EXT_CPUID"},
    {KVM_CAP_IOEVENTFD, "IOEVENTFD"},           {KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS"},
    {KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT"}, {KVM_CAP_XCRS, "XCRS"},
};
constexpr Capability kHardwareCapabilities[] = {
    {KVM_CAP_IRQCHIP, "IRQCHIP"},           {KVM_CAP_IRQFD, "IRQFD"},
    {KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR"}, {KVM_CAP_PIT2, "PIT2"},
    {KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK"}, {KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER"},
};

std::string Missing(const Kvm& kvm, std::span<const Capability> capabilities) {
  std::string names;
  for (const Capability& capability : capabilities) {
    if (kvm.Capability(capability.number) == 0)
      names += std::string(names.empty() ? "" : " ") + capability.name;
  }
  return names;
}

uint64_t AddressOf(const char* symbol) {
  return kProbeCode + static_cast<uint64_t>(symbol - hmvm_probe_start);
}

void Put(std::span<std::byte> memory, uint64_t address, uint64_t value) {
  std::memcpy(memory.data() + address, &value, sizeof(value));
}

void BuildMemory(std::span<std::byte> memory) {
  constexpr uint64_t kTable = 0x7;   // present, writable, user
  constexpr uint64_t kLarge = 0x87;  // and a 2 MiB page
  Put(memory, kLevel4, kLevel3 | kTable);
  Put(memory, kLevel3, kLevel2 | kTable);
  Put(memory, kLevel2, kLarge);
  Put(memory, kGdt + kKernelCode, 0x00af9b000000ffff);
  Put(memory, kGdt + kKernelData, 0x00cf93000000ffff);
  Put(memory, kGdt + (kUserData & ~7), 0x00cff3000000ffff);
  Put(memory, kGdt + (kUserCode & ~7), 0x00affb000000ffff);
  for (uint64_t vector = 0; vector < 32; ++vector) {
    const char* handler = vector == 3   ? hmvm_probe_break
                          : vector == 6 ? hmvm_probe_undefined
                                        : hmvm_probe_fault;
    const uint64_t target = AddressOf(handler);  // below 64 KiB
    const uint64_t privilege = vector == 3 ? 3 : 0;
    Put(memory, kIdt + vector * 16, target | uint64_t{kKernelCode} << 16 | (0x8e | privilege << 5) << 40);
  }
  Put(memory, kTss + 4, kRing0Stack);
  std::memcpy(memory.data() + kProbeCode, hmvm_probe_start,
              static_cast<size_t>(hmvm_probe_end - hmvm_probe_start));
}

// A segment over all of the address space, as 64-bit mode wants it.
kvm_segment FlatSegment(uint16_t selector, uint8_t type, uint8_t privilege) {
  constexpr uint8_t kCode = 8;  // bit of the type
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = segment.s = segment.g = 1;
  segment.dpl = privilege;
  segment.l = (type & kCode) != 0;
  segment.db = (type & kCode) == 0;
  return segment;
}

Result<> SetState(Vcpu& vcpu, bool ring3) {
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu.Sregs());
  const uint8_t privilege = ring3 ? 3 : 0;
  sregs.cs = FlatSegment(ring3 ? kUserCode : kKernelCode, 11, privilege);
  sregs.ss = FlatSegment(ring3 ? kUserData : kKernelData, 3, privilege);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
  sregs.tr = {};
  sregs.tr.base = kTss;
  sregs.tr.limit = 0x67;
  sregs.tr.selector = kTaskState;
  sregs.tr.type = 11;
  sregs.tr.present = 1;
  sregs.gdt.base = kGdt;
  sregs.gdt.limit = 0x4f;
  sregs.idt.base = kIdt;
  sregs.idt.limit = 0xfff;
  sregs.cr0 = 0x80050033;  // PG AM WP NE ET MP PE
  sregs.cr3 = kLevel4;
  sregs.cr4 = 0x620;   // OSXMMEXCPT OSFXSR PAE
  sregs.efer = 0xd01;  // NXE LMA LME SCE
  HMVM_TRY(vcpu.SetSregs(sregs));
  kvm_regs regs = {};
  regs.rip = AddressOf(ring3 ? hmvm_probe_ring3 : hmvm_probe_loop);
  regs.rsp = ring3 ? kRing3Stack : kRing0Stack;
  regs.rflags = 0x3002;  // IOPL 3, so that ring 3 may use ports
  return vcpu.SetRegs(regs);
}

// One stop of the probe code.
struct Mark {
  uint32_t value = 0;  // eax, for 32-bit writes
  uint8_t privilege = 0;
  Clock::time_point when;
};

// Interrupts a vCPU that has not come back in time.
class Watchdog {
 public:
  explicit Watchdog(const Vcpu& vcpu)
      : thread_([this, &vcpu](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          if (!changed_.wait_for(lock, stop, kPatience, [] { return false; }) && !stop.stop_requested()) {
            vcpu.Kick();
          }
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

Result<std::map<uint16_t, Mark>> RunToEnd(Vcpu& vcpu, uint16_t last_port) {
  std::map<uint16_t, Mark> marks;
  const Watchdog watchdog(vcpu);
  for (;;) {
    HMVM_TRY_ASSIGN(const bool exited, vcpu.Run());
    const Clock::time_point now = Clock::now();
    const kvm_run& run = vcpu.run();
    if (!exited || run.exit_reason != KVM_EXIT_IO || run.io.direction != KVM_EXIT_IO_OUT) return marks;
    Mark mark{.when = now};
    if (run.io.size == sizeof(mark.value)) {
      std::memcpy(&mark.value, reinterpret_cast<const std::byte*>(&run) + run.io.data_offset,
                  sizeof(mark.value));
    }
    if (run.io.port >= kProbeSyscall) {
      HMVM_TRY_ASSIGN(const kvm_sregs sregs, vcpu.Sregs());
      mark.privilege = sregs.cs.dpl;
    }
    marks.emplace(run.io.port, mark);
    if (run.io.port == last_port || run.io.port == kProbeFault) return marks;
  }
}

// A vCPU of its own for each privilege, in one VM: making a VM is most of what the probe costs.
Result<Vcpu> MakeVcpu(const Kvm& kvm, const Vm& vm, bool ring3) {
  HMVM_TRY_ASSIGN(Vcpu vcpu, vm.CreateVcpu(ring3 ? 1 : 0));
  HMVM_TRY(vcpu.AttachThread());
  HMVM_TRY_ASSIGN(const auto cpuid, kvm.SupportedCpuid());
  HMVM_TRY(vcpu.SetCpuid(cpuid));
  HMVM_TRY(SetState(vcpu, ring3));
  const std::array<kvm_msr_entry, 3> msrs = {{
      {.index = 0xc0000081,
       .reserved = 0,
       .data = uint64_t{kUserData - 8} << 48 | uint64_t{kKernelCode} << 32},
      {.index = 0xc0000082, .reserved = 0, .data = AddressOf(hmvm_probe_lstar)},
      {.index = 0xc0000084, .reserved = 0, .data = 0},
  }};
  HMVM_TRY(vcpu.SetMsrs(msrs));
  return vcpu;
}

HostFinding Finding(std::string name, bool ok, std::string value, std::string meaning,
                    HostFinding::Verdict otherwise = HostFinding::Verdict::kMissing) {
  return {std::move(name), std::move(value), std::move(meaning), ok ? HostFinding::Verdict::kOk : otherwise};
}

// The time of the loop in guest ring 0.
Result<std::chrono::microseconds> MeasureRing0(Vcpu& vcpu) {
  HMVM_TRY_ASSIGN(const auto marks, RunToEnd(vcpu, kProbeLoopEnd));
  const auto start = marks.find(kProbeLoopStart);
  const auto end = marks.find(kProbeLoopEnd);
  if (start == marks.end() || end == marks.end()) return Error{0, "probe of guest ring 0 did not finish"};
  return std::chrono::duration_cast<std::chrono::microseconds>(end->second.when - start->second.when);
}

Result<> ProbeRing0(const Kvm& kvm, const Vm& vm, HostProbe& probe) {
  HMVM_TRY_ASSIGN(Vcpu vcpu, MakeVcpu(kvm, vm, false));
  HMVM_TRY_ASSIGN(std::chrono::microseconds took, MeasureRing0(vcpu));
  if (took > kEmulatedLine) {  // a native loop may have been preempted: once more
    HMVM_TRY_ASSIGN(const std::chrono::microseconds again, MeasureRing0(vcpu));
    took = std::min(took, again);
  }
  probe.emulated_ring0 = took > kEmulatedLine;
  const std::string value =
      std::to_string(took.count()) + " us for a loop of " + std::to_string(kProbeLoopCount);
  probe.findings.push_back(
      probe.emulated_ring0 ? Finding("guest ring 0", false, "interpreted, " + value,
                                     "no VT-x or AMD-V here: guest kernels run in ring 3 (platform ring3)",
                                     HostFinding::Verdict::kNote)
                           : Finding("guest ring 0", true, "native, " + value,
                                     "guest kernels run in ring 0 (platform hardware)"));
  return {};
}

Result<> ProbeRing3(const Kvm& kvm, const Vm& vm, HostProbe& probe) {
  HMVM_TRY_ASSIGN(Vcpu vcpu, MakeVcpu(kvm, vm, true));
  HMVM_TRY_ASSIGN(const auto marks, RunToEnd(vcpu, kProbeDone));
  const auto at = [&](uint16_t port, uint8_t privilege) {
    const auto found = marks.find(port);
    return found != marks.end() && found->second.privilege == privilege;
  };
  const auto value = [&](uint16_t port) { return marks.contains(port) ? marks.at(port).value : 0; };
  // On a host with hardware virtualization ring3 is not needed, so what it lacks there is no fault.
  const auto otherwise = probe.emulated_ring0 ? HostFinding::Verdict::kMissing : HostFinding::Verdict::kNote;
  bool all = true;
  const auto add = [&](const char* name, bool ok, std::string text, const char* meaning) {
    all = all && ok;
    probe.findings.push_back(Finding(name, ok, std::move(text), meaning, otherwise));
  };
  const bool syscall = at(kProbeSyscall, 3);
  add("ring3: syscall", syscall, syscall ? "stays in ring 3" : "leaves ring 3 or fails",
      "system calls and hypercalls reach the monitor at native speed");
  const bool gate = at(kProbeBreakGate, 0) && at(kProbeAfterBreak, 3);
  add("ring3: int3 gate", gate, gate ? "works both ways" : "does not work",
      "the monitor's way to switch page tables");
  const bool undefined = marks.contains(kProbeUndefinedGate);
  add("ring3: #UD gate", undefined, undefined ? "works" : "does not work",
      "the monitor's way to call the VMM");
  const bool gs_base = value(kProbeGsBase) == kProbeGsValue;
  add("ring3: FSGSBASE", gs_base, gs_base ? "works" : "refused", "kernel and user each have their gs base");
  constexpr uint32_t kX87AndSse = 3;
  const bool xcr0 = (value(kProbeXcr0) & kX87AndSse) == kX87AndSse;
  char text[32];
  std::snprintf(text, sizeof(text), "0x%x", value(kProbeXcr0));
  add("ring3: XCR0", xcr0, text, "the register state that guest programs use and the guest kernel must keep");
  probe.ring3_usable = all;
  return {};
}

}  // namespace

std::string HostProbe::BestPlatform() const {
  if (hardware_usable && !emulated_ring0) return "hardware";
  return ring3_usable ? "ring3" : "";
}

Result<HostProbe> ProbeHost(const Kvm& kvm) {
  HostProbe probe;
  const std::string common = Missing(kvm, kCommonCapabilities);
  probe.findings.push_back(Finding("KVM capabilities", common.empty(),
                                   common.empty() ? "all there" : "missing: " + common,
                                   "what every VM needs"));
  const std::string hardware = Missing(kvm, kHardwareCapabilities);
  probe.findings.push_back(Finding("in-kernel interrupts", hardware.empty(),
                                   hardware.empty() ? "all there" : "missing: " + hardware,
                                   "what the hardware platform needs besides", HostFinding::Verdict::kNote));
  HMVM_TRY_ASSIGN(const Mapping memory, Mapping::Anonymous(kMemoryBytes));
  BuildMemory(memory.bytes());
  HMVM_TRY_ASSIGN(const Vm vm, kvm.CreateVm());
  HMVM_TRY(vm.SetMemory(0, 0, memory.bytes()));
  HMVM_TRY(ProbeRing0(kvm, vm, probe));
  HMVM_TRY(ProbeRing3(kvm, vm, probe));
  probe.hardware_usable = common.empty() && hardware.empty();
  probe.ring3_usable = probe.ring3_usable && common.empty();
  return probe;
}

}  // namespace hmvm
