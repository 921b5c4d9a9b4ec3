#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace hmvm::agent {

constexpr size_t kMinEntropyBytes = 32;
constexpr size_t kMaxEntropyBytes = 512;

// Mixes secret bytes into the kernel's random numbers, counts them in full, and makes the kernel draw anew
// from all it has: after a restore two guests have the same state until this. EINVAL: too few or too many
// bytes.
Result<> AddEntropy(std::span<const std::byte> bytes);

}  // namespace hmvm::agent
