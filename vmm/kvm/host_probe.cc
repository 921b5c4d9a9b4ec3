#include "vmm/kvm/host_probe.h"

#include <algorithm>
#include <chrono>

#include "vmm/kvm/kick_timer.h"
#include "vmm/kvm/probe_machine.h"
#include "vmm/kvm/ring3_probe.h"

namespace hmvm {

struct ProbeVm {
  ProbeMachine machine;
  Vm vm;
};

namespace {

using Clock = std::chrono::steady_clock;

// Native needs about 1 us for the loop, interpretation 300 to 600; a preempted native loop is rare and
// harmless.
constexpr auto kEmulatedLine = std::chrono::microseconds(100);
// For guest code that never comes back: a KVM that behaves as no other we know. Processor time, as a busy
// host is no hanging one.
constexpr auto kPatience = std::chrono::milliseconds(250);

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

HostFinding Finding(std::string name, bool ok, std::string value, std::string meaning,
                    HostFinding::Verdict otherwise = HostFinding::Verdict::kMissing) {
  return {std::move(name), std::move(value), std::move(meaning), ok ? HostFinding::Verdict::kOk : otherwise};
}

// The time between the two port writes around the loop in guest ring 0.
Result<std::chrono::microseconds> MeasureRing0(Vcpu& vcpu, const KickTimer& watchdog) {
  Clock::time_point start;
  watchdog.Arm(kPatience);
  for (;;) {
    HMVM_TRY_ASSIGN(const bool exited, vcpu.Run());
    const Clock::time_point now = Clock::now();
    const kvm_run& run = vcpu.run();
    if (!exited || run.exit_reason != KVM_EXIT_IO) return Error{0, "probe of guest ring 0 did not finish"};
    if (run.io.port == PROBE_PORT_LOOP_START) start = now;
    if (run.io.port == PROBE_PORT_LOOP_END)
      return std::chrono::duration_cast<std::chrono::microseconds>(now - start);
  }
}

Result<> ProbeRing0(const Kvm& kvm, const ProbeVm& vm, HostProbe& probe) {
  HMVM_TRY_ASSIGN(Vcpu vcpu, vm.vm.CreateVcpu(0));
  HMVM_TRY_ASSIGN(const auto cpuid, kvm.SupportedCpuid());
  HMVM_TRY(vcpu.SetCpuid(cpuid));
  HMVM_TRY(vm.machine.SetState(vcpu, /*ring3=*/false));
  KickTimer watchdog;
  HMVM_TRY(watchdog.Start(vcpu, CLOCK_THREAD_CPUTIME_ID));
  HMVM_TRY_ASSIGN(std::chrono::microseconds took, MeasureRing0(vcpu, watchdog));
  if (took > kEmulatedLine) {  // a native loop may have been preempted: once more
    HMVM_TRY_ASSIGN(const std::chrono::microseconds again, MeasureRing0(vcpu, watchdog));
    took = std::min(took, again);
  }
  probe.emulated_ring0 = took > kEmulatedLine;
  const std::string value =
      std::to_string(took.count()) + " us for a loop of " + std::to_string(PROBE_LOOP_COUNT);
  probe.findings.push_back(
      probe.emulated_ring0 ? Finding("guest ring 0", false, "interpreted, " + value,
                                     "no VT-x or AMD-V here: guest kernels run in ring 3 (platform ring3)",
                                     HostFinding::Verdict::kNote)
                           : Finding("guest ring 0", true, "native, " + value,
                                     "guest kernels run in ring 0 (platform hardware)"));
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
  HMVM_TRY_ASSIGN(ProbeMachine machine, ProbeMachine::Create());
  HMVM_TRY_ASSIGN(Vm vm, kvm.CreateVm());
  HMVM_TRY(machine.AddTo(vm));
  probe.vm = std::make_shared<const ProbeVm>(ProbeVm{std::move(machine), std::move(vm)});
  HMVM_TRY(ProbeRing0(kvm, *probe.vm, probe));
  probe.hardware_usable = common.empty() && hardware.empty();

  HMVM_TRY_ASSIGN(const Ring3Behaviours ring3, ProbeRing3(kvm, probe.vm->vm, probe.vm->machine, /*index=*/1));
  // On a host with hardware virtualization ring3 is not needed, so what it lacks there is no fault.
  std::ranges::move(Ring3Findings(ring3, probe.emulated_ring0 ? HostFinding::Verdict::kMissing
                                                              : HostFinding::Verdict::kNote),
                    std::back_inserter(probe.findings));
  probe.ring3_refusal = common.empty() ? Ring3Refusal(ring3)
                                       : "ring3: this host's KVM lacks " + common + ": needed for every VM";
  probe.ring3_usable = probe.ring3_refusal.empty();
  return probe;
}

}  // namespace hmvm
