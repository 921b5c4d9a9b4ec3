// Exceptions of user programs that KVM reports as other ones than the CPU would raise, put right, so that a
// program gets the signal it would get anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace hmvm::ring3 {

struct UserException {
  uint32_t vector;
  uint64_t error;
  uint64_t advance = 0;  // of rip: behind the instruction, for those that end before their exception
};

// `int3` and `int N`, which KVM makes a #UD of when it interprets them: always those whose gates are ring
// 0's, a #GP on a CPU, and the others when rsp is not canonical. `code` is what lies at rip; nullopt: none of
// them.
std::optional<UserException> SoftwareInterrupt(std::span<const uint8_t> code);

// What a program sees whose `syscall` could not be taken, as its rsp is not canonical.
inline constexpr UserException kBadStack = {12, 0};

}  // namespace hmvm::ring3
