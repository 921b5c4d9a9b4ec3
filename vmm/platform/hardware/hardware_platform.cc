// The platform for hosts with VT-x or AMD-V: a PC without firmware. In-kernel PIC, IOAPIC, local APICs and
// PIT, interrupts by irqfd, kvm-clock, the TSC deadline timer, an MP table, and the 64-bit boot protocol.
#include <algorithm>
#include <array>
#include <utility>

#include "vmm/boot/boot_params.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/cpuid.h"
#include "vmm/boot/elf.h"
#include "vmm/boot/mptable.h"
#include "vmm/devices/serial.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/platform/hardware/exits.h"
#include "vmm/platform/hardware/irqchip_state.h"
#include "vmm/platform/hardware/irqfd_line.h"
#include "vmm/platform/hardware/vcpu_setup.h"
#include "vmm/platform/platform.h"

namespace hmvm {
namespace {

// The IOAPIC's pins that no PC device of ours has (timer, keyboard, cascade, serial port, clock, ACPI, FPU).
// With more devices than pins they share: an edge of either makes the guest look at both.
constexpr std::array<uint32_t, 17> kDevicePins = {5,  6,  7,  10, 11, 12, 14, 15, 16,
                                                  17, 18, 19, 20, 21, 22, 23, 3};
constexpr uint32_t kSerialPin = 4;

// What a kernel needs to be told of this machine: how to reset it (both ways, see exit_port.h) and that there
// is one serial port.
constexpr char kCommandLine[] = "reboot=k hmvm_exit=0x600 8250.nr_uarts=1";

// On a host that interprets ring 0, where only the test kernel of guest/kernel/emulated-ring0-patches boots:
// leave out what rewrites code or walks all page tables at boot, which takes most of the time there.
constexpr char kEmulatedRing0CommandLine[] =
    "noreplace-smp mitigations=off rodata=off tsc=reliable cgroup.memory=nokmem";

struct LoadedKernel {
  uint64_t entry;
  BootLayout layout;
};

Result<LoadedKernel> LoadElf(const GuestMemory& memory, std::span<const std::byte> file) {
  HMVM_TRY_ASSIGN(const ElfImage image, ElfImage::Parse(file));
  if (image.physical_start() < kKernelStart) return Error{ENOEXEC, "ELF kernel begins below 1 MiB"};
  if (image.entry() < image.physical_start() || image.entry() >= image.physical_end()) {
    return Error{ENOEXEC, "ELF kernel's entry point is no physical address inside it"};
  }
  HMVM_TRY(image.Load(memory));
  return LoadedKernel{image.entry(), {.header = DefaultSetupHeader(), .kernel_end = image.physical_end()}};
}

Result<LoadedKernel> LoadBzImage(const GuestMemory& memory, std::span<const std::byte> file) {
  HMVM_TRY_ASSIGN(const BzImage image, BzImage::Parse(file));
  HMVM_TRY(image.Load(memory));
  return LoadedKernel{image.entry(), {.header = image.header(), .kernel_end = image.memory_end()}};
}

class HardwarePlatform final : public Platform {
 public:
  explicit HardwarePlatform(const PlatformContext& context) : context_(context) {}

  std::string_view Name() const override { return "hardware"; }

  uint32_t MaxVcpus() const override {
    return std::min(static_cast<uint32_t>(context_.kvm->Capability(KVM_CAP_MAX_VCPUS)), kMaxMpProcessors);
  }

  std::string_view EarlyConsole() const override { return "earlycon=uart8250,io,0x3f8"; }

  Result<DeviceInterrupt> AddDeviceInterrupt(uint32_t slot) override {
    const uint32_t pin = kDevicePins[slot % kDevicePins.size()];
    HMVM_TRY_ASSIGN(std::unique_ptr<InterruptLine> line, IrqfdLine::Create(*context_.vm, pin));
    return DeviceInterrupt{pin, std::move(line)};
  }

  Result<std::unique_ptr<InterruptLine>> AddSerialInterrupt() override {
    return IrqfdLine::Create(*context_.vm, kSerialPin);
  }

  Result<> Load(const BootSource& source) override;

  std::span<Vcpu> vcpus() override { return vcpus_; }

  Result<VcpuTurn> RunOnce(Vcpu& vcpu) override {
    HMVM_TRY_ASSIGN(const bool exited, vcpu.Run());
    if (!exited) return VcpuTurn{.kind = VcpuTurn::Kind::kInterrupted, .end = {}, .report = {}};
    exits_.Count(vcpu.run().exit_reason);
    return HandleExit(vcpu, context_);
  }

  Result<VcpuTurn> Settle(Vcpu& vcpu) override;
  Result<> Save(snapshot::MachineState& state) const override;
  Result<> Restore(const snapshot::MachineState& state) override;

  void BeforeResume() override {
    // EINVAL: the guest does not use kvm-clock, and hears nothing.
    for (Vcpu& vcpu : vcpus_) static_cast<void>(vcpu.Ioctl(KVM_KVMCLOCK_CTRL, nullptr, "KVM_KVMCLOCK_CTRL"));
  }

  std::vector<std::pair<std::string, uint64_t>> Counters() const override { return exits_.Values(); }

 private:
  Result<> MakeVcpus();

  const PlatformContext context_;
  std::vector<Vcpu> vcpus_;
  ExitCounters exits_;
};

Result<> HardwarePlatform::Load(const BootSource& source) {
  const GuestMemory& memory = *context_.memory;
  HMVM_TRY_ASSIGN(const LoadedKernel kernel, ElfImage::IsElf(source.kernel)
                                                 ? LoadElf(memory, source.kernel)
                                                 : LoadBzImage(memory, source.kernel));
  std::string command_line = kCommandLine;
  if (context_.emulated_ring0) command_line.append(" ").append(kEmulatedRing0CommandLine);
  command_line.append(" ").append(source.command_line);
  HMVM_TRY(WriteBootParams(memory, kernel.layout, command_line, source.initrd));
  HMVM_TRY(memory.WriteBytes(GuestAddress{kMpTableAddress}, MakeMpTable(context_.booted_vcpus)));
  HMVM_TRY(WriteBootTables(memory));
  HMVM_TRY(MakeVcpus());
  for (const Vcpu& vcpu : vcpus_) HMVM_TRY(SetFirmwareState(vcpu));
  // The others wait in KVM for the boot vCPU's INIT and SIPI.
  return SetBootRegisters(vcpus_.front(), kernel.entry);
}

Result<> HardwarePlatform::MakeVcpus() {
  // As booted: the guest has placed the processors that it may still bring up by what the first one told.
  const CpuidPolicy policy = {.vcpus = context_.booted_vcpus,
                              .tsc_deadline_timer = context_.vm->Capability(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
                              .emulated_ring0 = context_.emulated_ring0};
  HMVM_TRY_ASSIGN(std::vector<kvm_cpuid_entry2> supported, context_.kvm->SupportedCpuid());
  const std::vector<kvm_cpuid_entry2> common = MakeCpuidTemplate(std::move(supported), policy);
  for (uint32_t index = 0; index < context_.vcpus; ++index) {
    HMVM_TRY_ASSIGN(Vcpu vcpu, context_.vm->CreateVcpu(index));
    HMVM_TRY(vcpu.SetCpuid(CpuidOfVcpu(common, index, context_.booted_vcpus)));
    vcpus_.push_back(std::move(vcpu));
  }
  return {};
}

Result<VcpuTurn> HardwarePlatform::Settle(Vcpu& vcpu) {
  // KVM completes an exit on its way in, even if it then turns back.
  for (;;) {
    vcpu.kick_flag().Raise();
    HMVM_TRY_ASSIGN(VcpuTurn turn, RunOnce(vcpu));
    if (turn.kind != VcpuTurn::Kind::kContinue) return turn;
  }
}

Result<> HardwarePlatform::Save(snapshot::MachineState& state) const {
  HMVM_TRY_ASSIGN(const std::vector<uint32_t> msrs, context_.kvm->MsrIndices());
  for (const Vcpu& vcpu : vcpus_) {
    HMVM_TRY_ASSIGN(*state.add_vcpus(), SaveVcpu(vcpu, msrs, /*has_apic=*/true));
  }
  return SaveIrqchip(*context_.vm, *state.mutable_hardware());
}

Result<> HardwarePlatform::Restore(const snapshot::MachineState& state) {
  if (!state.has_hardware() || std::cmp_less(state.vcpus_size(), context_.vcpus)) {
    return Error{EINVAL, "no state of " + std::to_string(context_.vcpus) + " vCPUs of the hardware platform"};
  }
  for (int index = static_cast<int>(context_.vcpus); index < state.vcpus_size(); ++index) {
    if (state.vcpus(index).mp_state() != KVM_MP_STATE_UNINITIALIZED) {
      return Error{EINVAL, "vCPU " + std::to_string(index) + " is on, and can't be left out"};
    }
  }
  HMVM_TRY(MakeVcpus());
  HMVM_TRY(RestoreIrqchip(*context_.vm, state.hardware()));
  for (const Vcpu& vcpu : vcpus_) {
    const auto restored = RestoreVcpu(vcpu, state.vcpus(static_cast<int>(vcpu.index())), /*has_apic=*/true);
    if (!restored.has_value()) return Wrap("vCPU " + std::to_string(vcpu.index()), restored.error());
  }
  BeforeResume();
  return {};
}

}  // namespace

Result<std::unique_ptr<Platform>> CreateHardwarePlatform(const PlatformContext& context) {
  HMVM_TRY(context.vm->CreateIrqchip());
  return std::unique_ptr<Platform>(new HardwarePlatform(context));
}

}  // namespace hmvm
