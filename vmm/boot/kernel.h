#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace hmvm {

// The guest memory, in bytes and whole MiB, below which a guest with this kernel (vmlinux or bzImage) and an
// initrd of `initrd_bytes` can't reach its first process. ENOEXEC when the file is no kernel; the text says
// why.
Result<uint64_t> MinimumMemory(std::span<const std::byte> kernel, uint64_t initrd_bytes);

}  // namespace hmvm
