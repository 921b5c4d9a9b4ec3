// The hypercalls on page tables. Guest RAM is reached through Cpu::direct_map alone, so that the same code
// runs in the monitor and, over a buffer, in its fuzz target on the host. Pointers are the guest kernel's and
// followed as they are (monitor.cc); frames are checked: no entry outside RAM is read or written.
#pragma once

#include <cstdint>

#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {

inline constexpr int64_t kMonitorEinval = -22;

// The 64 bits at an address of the kernel's: the monitor reads them, tests on the host have their own.
uint64_t LoadWord(uint64_t address);

// Each 0 or kMonitorEinval. A change of cr3 or a flush is left to the end of the hypercall, in Cpu::flush
// and, of other vCPUs, in Cpu::flush_vcpus. `done`, if not nullptr, hears of `count` when all went well.

// mmu_update (Xen public/xen.h): pairs of an address with a command in its low bits, and a value.
int64_t MmuUpdate(Cpu& cpu, const uint64_t* updates, uint64_t count, uint32_t* done);
int64_t UpdateVaMapping(Cpu& cpu, uint64_t address, uint64_t entry, uint64_t flags);
int64_t MmuExtended(Cpu& cpu, const MmuExtendedOperation* operations, uint64_t count, uint32_t* done);

}  // namespace hmvm::ring3
