// The 64-bit boot protocol's memory: boot_params with the e820 map, command line, initrd
// (Documentation/arch/x86/boot.rst, zero-page.rst).
#pragma once

#include <asm/bootparam.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hmvm {

// Below 1 MiB, in the order of their addresses.
inline constexpr GuestAddress kGdtAddress{0x500};
inline constexpr GuestAddress kBootParamsAddress{0x7000};
inline constexpr uint64_t kBootStackTop = 0x8ff0;
inline constexpr GuestAddress kPageTablesAddress{0x9000};
inline constexpr GuestAddress kCommandLineAddress{0x20000};
inline constexpr size_t kMaxCommandLine = 2047;  // Linux's COMMAND_LINE_SIZE on x86 without the final zero
inline constexpr uint64_t kReservedStart = 0x9fc00;  // to 1 MiB: where a PC has its BIOS, and we the MP table
inline constexpr uint64_t kKernelStart = 0x100000;   // kernels lie above

// The memory map for `memory`: RAM and what a guest must not take for free below 1 MiB.
std::vector<boot_e820_entry> MakeE820Map(const GuestMemory& memory);

// What has been placed where. `header` is a bzImage's own, or DefaultSetupHeader() for a vmlinux.
struct BootLayout {
  setup_header header;
  uint64_t kernel_end;  // guest-physical; memory between it and the end of low RAM is free for the initrd
};
setup_header DefaultSetupHeader();

// Writes command line, initrd and boot_params. E2BIG: the command line is too long. ENOMEM: no room for the
// initrd.
Result<> WriteBootParams(const GuestMemory& memory, const BootLayout& layout, const std::string& command_line,
                         std::span<const std::byte> initrd);

}  // namespace hmvm
