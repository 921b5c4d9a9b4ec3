#include "vmm/platform/hardware/vcpu_setup.h"

#include <array>
#include <cstring>

#include "vmm/boot/boot_params.h"

namespace hmvm {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kTableEntries = 512;

// Page table entry bits
constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;

// Control register bits, EFER
constexpr uint64_t kCr0Pe = 1 << 0;
constexpr uint64_t kCr0Et = 1 << 4;
constexpr uint64_t kCr0Ne = 1 << 5;
constexpr uint64_t kCr0Pg = 1ULL << 31;
constexpr uint64_t kCr4Pae = 1 << 5;
constexpr uint64_t kEferLme = 1 << 8;
constexpr uint64_t kEferLma = 1 << 10;

// boot.rst, "64-bit BOOT PROTOCOL": CS must be 0x10, DS, ES and SS 0x18.
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTaskSelector = 0x20;
constexpr std::array<uint64_t, 5> kGdt = {
    0,
    0,
    0x00af9b000000ffff,  // 64-bit code, present, accessed
    0x00cf93000000ffff,  // data
    0x008f8b000000ffff,  // busy 64-bit task state segment
};

kvm_segment FlatSegment(uint16_t selector, uint8_t type, bool code, bool system) {
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.db = !code && !system;
  segment.l = code;
  segment.s = !system;
  segment.g = 1;
  return segment;
}

constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint32_t kMsrMtrrDefaultType = 0x2ff;

}  // namespace

Result<> WriteBootTables(const GuestMemory& memory) {
  HMVM_TRY(memory.Write(kGdtAddress, kGdt));

  using Table = std::array<uint64_t, kTableEntries>;
  constexpr uint64_t kGigabytes = 4;
  const uint64_t root = kPageTablesAddress.value;
  const uint64_t middle = root + kPageBytes;
  const uint64_t lowest = middle + kPageBytes;
  Table table = {};
  table[0] = middle | kPresentWritable;
  HMVM_TRY(memory.Write(GuestAddress{root}, table));
  table = {};
  for (uint64_t i = 0; i < kGigabytes; ++i) table[i] = (lowest + i * kPageBytes) | kPresentWritable;
  HMVM_TRY(memory.Write(GuestAddress{middle}, table));
  for (uint64_t i = 0; i < kGigabytes; ++i) {
    for (uint64_t j = 0; j < kTableEntries; ++j) {
      table[j] = (i * kTableEntries + j) << 21 | kLargePage | kPresentWritable;
    }
    HMVM_TRY(memory.Write(GuestAddress{lowest + i * kPageBytes}, table));
  }
  return {};
}

Result<> SetBootRegisters(const Vcpu& vcpu, uint64_t entry) {
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu.Sregs());
  sregs.cs = FlatSegment(kCodeSelector, 0xb, true, false);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = FlatSegment(kDataSelector, 0x3, false, false);
  sregs.tr = FlatSegment(kTaskSelector, 0xb, false, true);
  sregs.gdt.base = kGdtAddress.value;
  sregs.gdt.limit = sizeof(kGdt) - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;  // the kernel has its own before it can fault
  sregs.cr0 = kCr0Pe | kCr0Et | kCr0Ne | kCr0Pg;
  sregs.cr3 = kPageTablesAddress.value;
  sregs.cr4 = kCr4Pae;
  sregs.efer = kEferLme | kEferLma;
  HMVM_TRY(vcpu.SetSregs(sregs));

  kvm_regs regs = {};
  regs.rflags = 2;
  regs.rip = entry;
  regs.rsp = kBootStackTop;
  regs.rsi = kBootParamsAddress.value;
  return vcpu.SetRegs(regs);
}

Result<> SetFirmwareState(const Vcpu& vcpu) {
  const std::array msrs = {
      kvm_msr_entry{.index = kMsrMiscEnable, .reserved = 0, .data = 1},  // fast string operations
      // Enabled, write-back by default: else Linux believes that firmware left the caches off.
      kvm_msr_entry{.index = kMsrMtrrDefaultType, .reserved = 0, .data = 1 << 11 | 6},
  };
  HMVM_TRY(vcpu.SetMsrs(msrs));

  // Intel SDM volume 3, "Local Vector Table": the PIC's interrupts arrive at LINT0, NMIs at LINT1.
  constexpr size_t kLvtLint0 = 0x350;
  constexpr size_t kLvtLint1 = 0x360;
  constexpr uint32_t kDeliverNmi = 4 << 8;
  constexpr uint32_t kDeliverExternal = 7 << 8;
  kvm_lapic_state lapic;
  HMVM_TRY(vcpu.Ioctl(KVM_GET_LAPIC, &lapic, "KVM_GET_LAPIC"));
  std::memcpy(lapic.regs + kLvtLint0, &kDeliverExternal, sizeof(kDeliverExternal));
  std::memcpy(lapic.regs + kLvtLint1, &kDeliverNmi, sizeof(kDeliverNmi));
  HMVM_TRY(vcpu.Ioctl(KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC"));
  return {};
}

}  // namespace hmvm
