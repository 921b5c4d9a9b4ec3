// How much memory a machine gets beside what it was booted with: hmvm-vmm's virtio-mem gives it, and who
// starts hmvm-vmm tells the guest to wait for it.
#pragma once

#include <cstdint>

namespace hmvm {

inline constexpr uint64_t kMemoryBlockBytes = 2 << 20;  // what Linux can plug one by one: a page block

// Whole blocks. `memory_mib` is no less than `booted_mib`.
constexpr uint64_t AddedMemoryBytes(uint64_t booted_mib, uint64_t memory_mib) {
  return ((memory_mib - booted_mib) << 20) / kMemoryBlockBytes * kMemoryBlockBytes;
}

}  // namespace hmvm
