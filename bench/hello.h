// Beside QEMU's microvm machine, which has no vsock for the agent: hmvm-vmm and QEMU boot the same kernel
// with the same init, which says a line. With --hello N, N times each, as the flag --hello_kernel says.
#pragma once

#include <vector>

#include "bench/measure.h"

namespace hmvm::bench {

// Adds a row for hmvm-vmm and, where it is installed, one for QEMU; nothing without --hello.
void BootToHello(uint32_t memory_mib, std::vector<Series>& table);

}  // namespace hmvm::bench
