// The state in which a vCPU of the hardware platform starts.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/guest_memory.h"

namespace hmvm {

// Writes what the 64-bit boot protocol needs in memory: a flat GDT and page tables that map the first 4 GiB
// to themselves.
Result<> WriteBootTables(const GuestMemory& memory);

// The vCPU that boots: 64-bit mode on those tables, at `entry` with boot_params in RSI.
Result<> SetBootRegisters(const Vcpu& vcpu, uint64_t entry);

// What every vCPU needs before it runs: MSRs as firmware leaves them, local APIC in virtual wire mode.
Result<> SetFirmwareState(const Vcpu& vcpu);

}  // namespace hmvm
