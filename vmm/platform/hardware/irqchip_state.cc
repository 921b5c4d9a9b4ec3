#include "vmm/platform/hardware/irqchip_state.h"

#include "vmm/kvm/vcpu_state.h"

namespace hmvm {
namespace {

constexpr uint32_t kIrqchips[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};

}  // namespace

Result<> SaveIrqchip(const Vm& vm, snapshot::HardwareState& state) {
  for (const uint32_t id : kIrqchips) {
    kvm_irqchip chip = {};
    chip.chip_id = id;
    HMVM_TRY(vm.Ioctl(KVM_GET_IRQCHIP, &chip, "KVM_GET_IRQCHIP"));
    state.add_irqchips(PackBytes(chip));
  }
  kvm_pit_state2 pit = {};
  HMVM_TRY(vm.Ioctl(KVM_GET_PIT2, &pit, "KVM_GET_PIT2"));
  state.set_pit(PackBytes(pit));
  kvm_clock_data clock = {};
  HMVM_TRY(vm.Ioctl(KVM_GET_CLOCK, &clock, "KVM_GET_CLOCK"));
  state.set_clock(PackBytes(clock));
  return {};
}

Result<> RestoreIrqchip(const Vm& vm, const snapshot::HardwareState& state) {
  if (state.irqchips_size() != std::ssize(kIrqchips)) return Error{EINVAL, "no state of the interrupt chips"};
  for (int i = 0; i < state.irqchips_size(); ++i) {
    HMVM_TRY_ASSIGN(kvm_irqchip chip, UnpackBytes<kvm_irqchip>(state.irqchips(i), "interrupt chip"));
    if (chip.chip_id != kIrqchips[i]) return Error{EINVAL, "interrupt chip in another's place"};
    HMVM_TRY(vm.Ioctl(KVM_SET_IRQCHIP, &chip, "KVM_SET_IRQCHIP"));
  }
  HMVM_TRY_ASSIGN(kvm_pit_state2 pit, UnpackBytes<kvm_pit_state2>(state.pit(), "timer chip"));
  HMVM_TRY(vm.Ioctl(KVM_SET_PIT2, &pit, "KVM_SET_PIT2"));
  HMVM_TRY_ASSIGN(const kvm_clock_data saved, UnpackBytes<kvm_clock_data>(state.clock(), "clock"));
  // Without flags: from `clock` on, whatever the host's clocks have done meanwhile.
  kvm_clock_data clock = {};
  clock.clock = saved.clock;
  HMVM_TRY(vm.Ioctl(KVM_SET_CLOCK, &clock, "KVM_SET_CLOCK"));
  return {};
}

}  // namespace hmvm
