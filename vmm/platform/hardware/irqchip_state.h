// The in-kernel PICs, IOAPIC, PIT and clock as a snapshot keeps them.
#pragma once

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// While no vCPU runs.
Result<> SaveIrqchip(const Vm& vm, snapshot::HardwareState& state);

// Into a new VM with an irqchip. The clock goes on from where it was.
Result<> RestoreIrqchip(const Vm& vm, const snapshot::HardwareState& state);

}  // namespace hmvm
