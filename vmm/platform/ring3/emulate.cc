#include "vmm/platform/ring3/emulate.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/platform/ring3/cpuid.h"
#include "vmm/platform/ring3/start_state.h"

namespace hmvm::ring3 {
namespace {

constexpr uint32_t kMsrApicBase = 0x1b;
constexpr uint32_t kMsrPat = 0x277;
constexpr uint32_t kMsrFsBase = 0xc0000100;
constexpr uint32_t kMsrGsBase = 0xc0000101;
constexpr uint32_t kMsrKernelGsBase = 0xc0000102;

constexpr uint64_t kReadPat = 0x0007040600070406;  // the CPU's value at reset
constexpr uint64_t kReadCr0 = 0x80050033;          // PG AM WP NE ET MP PE
constexpr uint64_t kReadCr4 = 0x40620;             // OSXSAVE OSXMMEXCPT OSFXSR PAE

constexpr uint8_t kOperandSizePrefix = 0x66;
constexpr uint8_t kRexB = 1;
constexpr uint8_t kRexR = 4;

uint64_t& Register(kvm_regs& regs, unsigned index) {
  __u64* const order[16] = {&regs.rax, &regs.rcx, &regs.rdx, &regs.rbx, &regs.rsp, &regs.rbp,
                            &regs.rsi, &regs.rdi, &regs.r8,  &regs.r9,  &regs.r10, &regs.r11,
                            &regs.r12, &regs.r13, &regs.r14, &regs.r15};
  return reinterpret_cast<uint64_t&>(*order[index & 15]);
}

}  // namespace

uint64_t Emulator::ReadMsr(uint32_t index) const {
  switch (index) {
    case kMsrFsBase:
    case kMsrGsBase: {
      const auto sregs = vcpu_->Sregs();
      if (!sregs.has_value()) return 0;
      return index == kMsrFsBase ? sregs->fs.base : sregs->gs.base;
    }
    case kMsrKernelGsBase:
      return window_->cpu(vcpu_->index()).user_gs;
    case kMsrEfer:
      return kEfer;
    case kMsrPat:
      return kReadPat;
    case kMsrApicBase:
    default:
      return 0;  // Linux asks for many to find features that it then does not see
  }
}

void Emulator::WriteMsr(uint32_t index, uint64_t value) const {
  switch (index) {
    case kMsrGsBase:
      window_->cpu(vcpu_->index()).kernel_gs = value;
      [[fallthrough]];
    case kMsrFsBase: {
      // A base that is not canonical is refused by KVM and the write ignored: the guest's own loss.
      const kvm_msr_entry entry = {.index = index, .reserved = 0, .data = value};
      static_cast<void>(vcpu_->SetMsrs(std::span(&entry, 1)));
      break;
    }
    case kMsrKernelGsBase:
      window_->cpu(vcpu_->index()).user_gs = value;
      break;
    default:
      break;
  }
}

void Emulator::PortAccess(bool in, uint16_t port, size_t bytes, kvm_regs& regs) const {
  std::array<std::byte, 4> data;
  const std::span<std::byte> used = std::span(data).first(bytes);
  if (!in) {
    std::memcpy(data.data(), &regs.rax, bytes);
    ports_->Write(port, used);
    return;
  }
  // There is no interval timer. Linux measures the CPU's speed with it all the same and, were the counter to
  // read as all ones, would wait 50,000 reads for it to move.
  constexpr uint16_t kIntervalTimerCounter = 0x42;
  if (port == kIntervalTimerCounter) {
    std::ranges::fill(used, std::byte{0});
  } else {
    ports_->Read(port, used);
  }
  if (bytes == 4) regs.rax = 0;  // a 32-bit result clears the upper half
  std::memcpy(&regs.rax, data.data(), bytes);
}

std::optional<size_t> Emulator::TwoByteOpcode(std::span<const uint8_t> code, size_t at, uint8_t rex,
                                              kvm_regs& regs) const {
  const uint8_t opcode = code[at++];
  const auto modrm = [&] { return code[at++]; };
  switch (opcode) {
    case 0x06:  // clts: TS is never set
    case 0x08:  // invd
    case 0x09:  // wbinvd: no device looks past the caches
      return at;
    case 0x30:  // wrmsr: the base of GS in startup_xen, feature set-up
      WriteMsr(static_cast<uint32_t>(regs.rcx), (regs.rdx << 32) | static_cast<uint32_t>(regs.rax));
      return at;
    case 0x32: {  // rdmsr
      const uint64_t value = ReadMsr(static_cast<uint32_t>(regs.rcx));
      regs.rax = static_cast<uint32_t>(value);
      regs.rdx = value >> 32;
      return at;
    }
    case 0x20: {  // mov from a control register: Linux reads CR0 and CR4 to know what is set
      const uint8_t operands = modrm();
      const unsigned control = (operands >> 3 & 7) | (rex & kRexR ? 8 : 0);
      uint64_t value = 0;
      if (control == 0) value = kReadCr0;
      if (control == 3) value = window_->cpu(vcpu_->index()).kernel_root;
      if (control == 4) value = kReadCr4;
      Register(regs, (operands & 7) | (rex & kRexB ? 8 : 0)) = value;
      return at;
    }
    case 0x21: {  // mov from a debug register
      const uint8_t operands = modrm();
      Register(regs, (operands & 7) | (rex & kRexB ? 8 : 0)) = 0;
      return at;
    }
    case 0x22:  // mov to a control register: bits of CR0 and CR4, ours are right
    case 0x23:  // mov to a debug register: no hardware breakpoints
      modrm();
      return at;
    case 0x01: {  // xsetbv: XCR0 is the host's, and the kernel sets what CPUID leaf 0xd says
      constexpr uint8_t kXsetbv = 0xd1;
      if (modrm() != kXsetbv) return std::nullopt;
      return at;
    }
    default:
      return std::nullopt;
  }
}

std::optional<size_t> Emulator::GeneralProtection(std::span<const uint8_t> code, kvm_regs& regs) const {
  // All that is known fits well into a full instruction's bytes, so that no index below is out of range.
  if (code.size() < kMaxInstructionBytes) return std::nullopt;
  size_t at = 0;
  bool operand16 = false;
  uint8_t rex = 0;
  constexpr size_t kMostPrefixes = 4;
  while (at < kMostPrefixes && (code[at] == kOperandSizePrefix || (code[at] & 0xf0) == 0x40)) {
    operand16 |= code[at] == kOperandSizePrefix;
    if ((code[at] & 0xf0) == 0x40) rex = code[at];
    ++at;
  }
  const uint8_t opcode = code[at++];
  const size_t wide = operand16 ? 2 : 4;
  const uint16_t dx = static_cast<uint16_t>(regs.rdx);
  switch (opcode) {
    case 0xe4:  // in al, imm8. Port accesses: the serial port, delays, probing for the PC's old devices
      PortAccess(true, code[at++], 1, regs);
      return at;
    case 0xe5:
      PortAccess(true, code[at++], wide, regs);
      return at;
    case 0xe6:
      PortAccess(false, code[at++], 1, regs);
      return at;
    case 0xe7:
      PortAccess(false, code[at++], wide, regs);
      return at;
    case 0xec:
      PortAccess(true, dx, 1, regs);
      return at;
    case 0xed:
      PortAccess(true, dx, wide, regs);
      return at;
    case 0xee:
      PortAccess(false, dx, 1, regs);
      return at;
    case 0xef:
      PortAccess(false, dx, wide, regs);
      return at;
    case 0xf4:  // hlt, cli, sti: where Linux means it, it makes hypercalls; what is left is a last resort
    case 0xfa:
    case 0xfb:
      return at;
    case 0x0f:
      return TwoByteOpcode(code, at, rex, regs);
    default:
      return std::nullopt;
  }
}

std::optional<size_t> Emulator::InvalidOpcode(std::span<const uint8_t> code, kvm_regs& regs) const {
  // Xen's forced emulation prefix before CPUID, as a PV kernel wants the hypervisor's answer and not the
  // CPU's.
  constexpr uint8_t kXenCpuid[] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
  if (code.size() < sizeof(kXenCpuid) ||
      !std::equal(std::begin(kXenCpuid), std::end(kXenCpuid), code.begin())) {
    return std::nullopt;
  }
  const CpuidResult result = GuestCpuid(static_cast<uint32_t>(regs.rax), static_cast<uint32_t>(regs.rcx));
  regs.rax = result.eax;
  regs.rbx = result.ebx;
  regs.rcx = result.ecx;
  regs.rdx = result.edx;
  return sizeof(kXenCpuid);
}

}  // namespace hmvm::ring3
