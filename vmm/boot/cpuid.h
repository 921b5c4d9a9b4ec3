// What the guest's CPUID instruction answers: KVM's supported leaves, made consistent for one vCPU of a
// machine. Intel SDM volume 2 "CPUID", AMD APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.rst.
#pragma once

#include <asm/kvm.h>
#include <linux/kvm.h>

#include <cstdint>
#include <vector>

namespace hmvm {

struct CpuidPolicy {
  uint32_t vcpus = 1;
  bool tsc_deadline_timer =
      false;  // KVM_CAP_TSC_DEADLINE_TIMER: KVM does not list it among the supported bits
  // The host's KVM interprets the guest kernel's instructions: leave out what its interpreter lacks and the
  // paravirtual calls that need VMCALL.
  bool emulated_ring0 = false;
};

// What all vCPUs have in common. Nested virtualization, SGX, performance counters are not offered.
std::vector<kvm_cpuid_entry2> MakeCpuidTemplate(std::vector<kvm_cpuid_entry2> supported,
                                                const CpuidPolicy& policy);

// The template for the vCPU with APIC id `apic_id`: APIC ids and a topology of one socket, one thread a core.
std::vector<kvm_cpuid_entry2> CpuidOfVcpu(std::vector<kvm_cpuid_entry2> common, uint32_t apic_id,
                                          uint32_t vcpus);

}  // namespace hmvm
