#include "vmm/platform/ring3/cpuid.h"

#include <cpuid.h>

#include <cstring>

#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {
namespace {

constexpr uint32_t Bit(int index) { return 1u << index; }

constexpr uint32_t kXenBase = 0x40000000;

// Allow-lists: instructions that run at CPL 3, and nothing that lives in an MSR, a control register or the
// APIC. Leaf 1
constexpr uint32_t kLeaf1Ecx = Bit(0) /*sse3*/ | Bit(1) /*pclmul*/ | Bit(9) /*ssse3*/ | Bit(12) /*fma*/ |
                               Bit(13) /*cx16*/ | Bit(19) /*sse4.1*/ | Bit(20) /*sse4.2*/ |
                               Bit(22) /*movbe*/ | Bit(23) /*popcnt*/ | Bit(25) /*aes*/ | Bit(26) /*xsave*/ |
                               Bit(27) /*osxsave*/ | Bit(28) /*avx*/ | Bit(29) /*f16c*/ | Bit(30) /*rdrand*/;
constexpr uint32_t kLeaf1EcxAlways = Bit(31);  // a hypervisor
// fpu, tsc, msr, cx8, sep, cmov, clflush, mmx, fxsr, sse, sse2. No pse, pge, mce, apic, mtrr, pat.
constexpr uint32_t kLeaf1Edx =
    Bit(0) | Bit(4) | Bit(5) | Bit(8) | Bit(11) | Bit(15) | Bit(19) | Bit(23) | Bit(24) | Bit(25) | Bit(26);
// Leaf 7.0: bmi1 avx2 bmi2 erms avx512f dq adx ifma clflushopt clwb cd sha bw vl. No fsgsbase: the
// kernel would set CR4. No smep, smap, invpcid, pku. No rdseed:
// without an MSR for the microcode's version Linux calls it broken, aloud.
constexpr uint32_t kLeaf7Ebx = Bit(3) | Bit(5) | Bit(8) | Bit(9) | Bit(16) | Bit(17) | Bit(19) | Bit(21) |
                               Bit(23) | Bit(24) | Bit(28) | Bit(29) | Bit(30) | Bit(31);
// vbmi vbmi2 gfni vaes vpclmulqdq vnni bitalg vpopcntdq
constexpr uint32_t kLeaf7Ecx = Bit(1) | Bit(6) | Bit(8) | Bit(9) | Bit(10) | Bit(11) | Bit(12) | Bit(14);
constexpr uint32_t kLeaf7Edx = Bit(4) /*fsrm*/;
// Leaf 0x80000001: lahf abm sse4a misalignsse 3dnowprefetch; syscall nx lm
constexpr uint32_t kExtendedEcx = Bit(0) | Bit(5) | Bit(6) | Bit(7) | Bit(8);
constexpr uint32_t kExtendedEdx = Bit(11) | Bit(20) | Bit(29);
// Leaf 0xd.1: xsaveopt xsavec xgetbv1. No xsaves: privileged.
constexpr uint32_t kXsaveEax = Bit(0) | Bit(1) | Bit(2);

// x87, SSE, AVX and the three parts of AVX-512: what XSAVE saves without a privileged set-up of its own.
constexpr uint64_t kXcr0Known = 0xe7;

CpuidResult HostCpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidResult result;
  __cpuid_count(leaf, subleaf, result.eax, result.ebx, result.ecx, result.edx);
  return result;
}

CpuidResult XenLeaf(uint32_t leaf) {
  CpuidResult result;
  switch (leaf) {
    case kXenBase:
      result.eax = kXenBase + 2;
      std::memcpy(&result.ebx, "XenV", 4);
      std::memcpy(&result.ecx, "MMXe", 4);
      std::memcpy(&result.edx, "nVMM", 4);
      break;
    case kXenBase + 1:
      result.eax = static_cast<uint32_t>(kXenVersion);
      break;
    default:
      break;
  }
  return result;
}

// The size of a compacted XSAVE area (Intel SDM volume 1 §13.4.3). The host's own number counts supervisor
// components that the guest does not have.
uint32_t CompactedSize(uint64_t xcr0) {
  constexpr uint32_t kLegacyAndHeader = 512 + 64;
  constexpr int kFirstExtended = 2;
  constexpr uint32_t kAligned = 1 << 1;
  uint32_t size = kLegacyAndHeader;
  for (int component = kFirstExtended; component < 63; ++component) {
    if ((xcr0 >> component & 1) == 0) continue;
    const CpuidResult host = HostCpuid(0xd, static_cast<uint32_t>(component));
    if ((host.ecx & kAligned) != 0) size = (size + 63) / 64 * 64;
    size += host.eax;
  }
  return size;
}

CpuidResult XsaveLeaf(uint32_t subleaf) {
  const uint64_t xcr0 = HostXcr0();
  CpuidResult result = HostCpuid(0xd, subleaf);
  if (subleaf == 0) {
    // EBX, the size for the current XCR0, is right as it is. ECX, the size for all the CPU has, must not be
    // larger than what the components that we show add up to.
    result.eax = static_cast<uint32_t>(xcr0);
    result.edx = static_cast<uint32_t>(xcr0 >> 32);
    result.ecx = result.ebx;
  } else if (subleaf == 1) {
    result = {.eax = result.eax & kXsaveEax, .ebx = CompactedSize(xcr0)};
  } else if (subleaf >= 63 || (xcr0 >> subleaf & 1) == 0) {
    result = {};
  }
  return result;
}

}  // namespace

uint64_t HostXcr0() {
  uint32_t low;
  uint32_t high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t{high} << 32) | low) & kXcr0Known;
}

void DenySyscallTo32Bits(std::span<kvm_cpuid_entry2> cpuid) {
  for (kvm_cpuid_entry2& entry : cpuid) {
    if (entry.function != 0) continue;
    std::memcpy(&entry.ebx, "Genu", 4);
    std::memcpy(&entry.edx, "ineI", 4);
    std::memcpy(&entry.ecx, "ntel", 4);
  }
}

CpuidResult GuestCpuid(uint32_t leaf, uint32_t subleaf) {
  if (leaf >= kXenBase && leaf < kXenBase + 0x10000) return XenLeaf(leaf);
  CpuidResult result = HostCpuid(leaf, subleaf);
  switch (leaf) {
    case 1:
      // EBX: CLFLUSH size; one logical processor, APIC id 0.
      result.ebx = (result.ebx & 0xff00) | (1 << 16);
      result.ecx = (result.ecx & kLeaf1Ecx) | kLeaf1EcxAlways;
      result.edx &= kLeaf1Edx;
      break;
    case 4:  // one core, caches shared with nobody
      result.eax &= 0x3fff & ~(0xfffu << 14);
      break;
    case 7:
      if (subleaf != 0) return {};
      result = {.eax = 0,
                .ebx = result.ebx & kLeaf7Ebx,
                .ecx = result.ecx & kLeaf7Ecx,
                .edx = result.edx & kLeaf7Edx};
      break;
    case 0xd:
      return XsaveLeaf(subleaf);
    case 0x80000001:
      result.ecx &= kExtendedEcx;
      result.edx &= kExtendedEdx;
      break;
    case 0x80000008:  // address sizes; no features, one core
      return {.eax = result.eax};
    case 0:
    case 2:
    case 0x15:
    case 0x16:
    case 0x80000000:
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
    case 0x80000005:
    case 0x80000006:
      break;
    default:  // power, performance counters, topology, virtualization: not the guest's
      return {};
  }
  return result;
}

}  // namespace hmvm::ring3
