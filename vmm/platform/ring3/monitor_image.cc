#include "vmm/platform/ring3/monitor_image.h"

// HMVM_RING3_MONITOR is the file's path, from CMake.
asm(".section .rodata\n"
    ".balign 16\n"
    "hmvm_ring3_monitor:\n"
    ".incbin \"" HMVM_RING3_MONITOR
    "\"\n"
    "hmvm_ring3_monitor_end:\n"
    ".previous\n");
extern "C" const std::byte hmvm_ring3_monitor[];
extern "C" const std::byte hmvm_ring3_monitor_end[];

namespace hmvm::ring3 {

std::span<const std::byte> MonitorImage() { return {hmvm_ring3_monitor, hmvm_ring3_monitor_end}; }

}  // namespace hmvm::ring3
