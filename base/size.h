#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm {

// "268435456", "256m", "1g": bytes, with the binary suffixes b, k, m, g in either case, as docker takes them;
// "1mb" is "1m".
// EINVAL with the accepted forms in the text.
Result<uint64_t> ParseSize(std::string_view text);

// What a machine has of it: whole MiB, rounded up.
inline uint32_t MemoryMib(uint64_t size_bytes) {
  return static_cast<uint32_t>((size_bytes + (1 << 20) - 1) >> 20);
}

// For people: "256 MiB", "1.5 GiB", "4321 B".
std::string FormatSize(uint64_t size_bytes);

}  // namespace hmvm
