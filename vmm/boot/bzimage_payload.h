// The vmlinux inside a bzImage, for a platform that has no use for the bzImage's own decompressor
// (Documentation/arch/x86/boot.rst, "payload_offset").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/mapping.h"
#include "base/result.h"

namespace hmvm {

// Far beyond any kernel: Debian's is a fifth of it.
inline constexpr uint64_t kMaxVmlinuxBytes = 256 << 20;

// The ELF file that `bzimage` carries, decompressed: gzip, bzip2, LZMA, XZ, LZ4 or Zstandard. ENOEXEC for all
// that is wrong with the file, EFBIG when it unpacks to more than kMaxVmlinuxBytes; the text says what. The
// first call loads libarchive, so that a machine whose kernel is a vmlinux does not pay for it. Thread-safe.
Result<Mapping> UnpackVmlinux(std::span<const std::byte> bzimage);

// Loads libarchive now: from within a jail it can't be.
Result<> LoadUnpacker();

}  // namespace hmvm
