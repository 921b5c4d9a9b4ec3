#include "vmm/platform/ring3/user_exceptions.h"

namespace hmvm::ring3 {

std::optional<UserException> SoftwareInterrupt(std::span<const uint8_t> code) {
  constexpr uint8_t kInt3 = 0xcc, kInt = 0xcd;
  constexpr uint32_t kBreakpoint = 3, kOverflow = 4, kGeneralProtection = 13;
  constexpr uint64_t kInIdt = 2;  // of an error code that names a descriptor (Intel SDM volume 3 §6.13)
  if (!code.empty() && code[0] == kInt3) return UserException{kBreakpoint, 0, 1};
  if (code.size() < 2 || code[0] != kInt) return std::nullopt;
  // Linux lets programs use these two gates.
  if (code[1] == kBreakpoint || code[1] == kOverflow) return UserException{code[1], 0, 2};
  return UserException{kGeneralProtection, uint64_t{code[1]} << 3 | kInIdt};
}

}  // namespace hmvm::ring3
