// The privileged instructions that a PV kernel still executes at CPL 3: each raises #GP (or, for Xen's CPUID,
// #UD) and is done here in its stead.
#pragma once

#include <asm/kvm.h>
#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <span>

#include "vmm/devices/bus.h"
#include "vmm/kvm/kvm.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm::ring3 {

inline constexpr size_t kMaxInstructionBytes = 15;

class Emulator {
 public:
  Emulator(const Vcpu* vcpu, const Window* window, const Bus* ports)
      : vcpu_(vcpu), window_(window), ports_(ports) {}

  // The length of the instruction at the start of `code`, which has been done on `regs`; nullopt when it is
  // none of those we know, and nothing has happened.
  std::optional<size_t> GeneralProtection(std::span<const uint8_t> code, kvm_regs& regs) const;
  std::optional<size_t> InvalidOpcode(std::span<const uint8_t> code, kvm_regs& regs) const;

 private:
  uint64_t ReadMsr(uint32_t index) const;
  void WriteMsr(uint32_t index, uint64_t value) const;
  void PortAccess(bool in, uint16_t port, size_t bytes, kvm_regs& regs) const;
  std::optional<size_t> TwoByteOpcode(std::span<const uint8_t> code, size_t at, uint8_t rex,
                                      kvm_regs& regs) const;

  const Vcpu* vcpu_;
  const Window* window_;
  const Bus* ports_;
};

}  // namespace hmvm::ring3
