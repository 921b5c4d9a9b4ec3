// What the guest kernel learns from CPUID. Its user programs execute CPUID natively and see the host's CPU
// whatever we answer, so the answer starts from the same CPU and hides what a kernel at CPL 3 cannot use.
#pragma once

#include <asm/kvm.h>
#include <linux/kvm.h>

#include <cstdint>
#include <span>

namespace hmvm::ring3 {

struct CpuidResult {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
};

// XCR0 of the host, which is the guest's too; of it, the components that Linux saves with XSAVE alone.
uint64_t HostXcr0();

CpuidResult GuestCpuid(uint32_t leaf, uint32_t subleaf);

// `cpuid` is what KVM is told of its vCPU, which no program sees. KVM interprets the `syscall` of 32-bit
// code: on AMD's CPUs it goes to CPL 0, to an address with the low 32 bits of CSTAR, which a program could
// map; on Intel's it is a #UD. So the vCPU is Intel's.
void DenySyscallTo32Bits(std::span<kvm_cpuid_entry2> cpuid);

}  // namespace hmvm::ring3
