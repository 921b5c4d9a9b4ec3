// The MultiProcessor Specification 1.4 tables: how a guest without ACPI finds its processors and interrupts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace hmvm {

inline constexpr uint64_t kMpTableAddress =
    0xf0000;  // where §4 lets a guest search, in the BIOS's read-only memory
inline constexpr uint32_t kMaxMpProcessors = 254;  // 8-bit APIC ids; one for the IOAPIC, one for broadcast
inline constexpr uint32_t kIoApicPins = 24;

// Floating pointer and configuration table, to be put at kMpTableAddress: processors with APIC ids
// 0..`processors`-1, one IOAPIC, one ISA bus whose interrupt N is the IOAPIC's pin N. 1 <= processors <=
// kMaxMpProcessors.
std::vector<std::byte> MakeMpTable(uint32_t processors);

}  // namespace hmvm
