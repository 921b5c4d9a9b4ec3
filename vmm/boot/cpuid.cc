#include "vmm/boot/cpuid.h"

#include <linux/kvm_para.h>

#include <algorithm>
#include <bit>

namespace hmvm {
namespace {

constexpr uint32_t Bit(int index) { return 1u << index; }

constexpr uint32_t kFeatures = 1;
constexpr uint32_t kCacheParameters = 4;
constexpr uint32_t kStructuredFeatures = 7;
constexpr uint32_t kPerformanceMonitoring = 0xa;
constexpr uint32_t kTopology = 0xb;
constexpr uint32_t kSgx = 0x12;
constexpr uint32_t kTopologyV2 = 0x1f;
constexpr uint32_t kKvmFeatures = 0x40000001;
constexpr uint32_t kExtendedFeatures = 0x80000001;
constexpr uint32_t kAmdSizes = 0x80000008;
constexpr uint32_t kAmdCacheParameters = 0x8000001d;
constexpr uint32_t kAmdTopology = 0x8000001e;

// Leaf 1
constexpr uint32_t kEcxVmx = Bit(5);
constexpr uint32_t kEcxCx16 = Bit(13);
constexpr uint32_t kEcxTscDeadline = Bit(24);
constexpr uint32_t kEcxHypervisor = Bit(31);
constexpr uint32_t kEdxHyperThreading = Bit(28);  // leaf 1 EBX tells a number of logical processors
// Leaf 7
constexpr uint32_t kEbxSgx = Bit(2);
constexpr uint32_t kEcxSgxLaunch = Bit(30);
constexpr uint32_t kEdxArchCapabilities = Bit(29);
// Leaf 0x80000001
constexpr uint32_t kEcxSvm = Bit(2);

// Topology levels of leaves 0xb and 0x1f
constexpr uint32_t kLevelThread = 1u << 8;
constexpr uint32_t kLevelCore = 2u << 8;

// Bits of an APIC id below the socket's number.
uint32_t CoreIdBits(uint32_t vcpus) { return static_cast<uint32_t>(std::bit_width(vcpus - 1)); }

bool IsDropped(const kvm_cpuid_entry2& entry) {
  switch (entry.function) {
    case kPerformanceMonitoring:
    case kSgx:
    case kTopologyV2:  // 0xb says the same
      return true;
    case kTopology:
      return true;  // made anew
    default:
      return false;
  }
}

void Adapt(kvm_cpuid_entry2& entry, const CpuidPolicy& policy) {
  switch (entry.function) {
    case kFeatures:
      entry.ecx &= ~kEcxVmx;
      entry.ecx |= kEcxHypervisor;
      if (policy.tsc_deadline_timer) entry.ecx |= kEcxTscDeadline;
      if (policy.emulated_ring0) entry.ecx &= ~kEcxCx16;
      break;
    case kStructuredFeatures:
      if (entry.index != 0) break;
      entry.ebx &= ~kEbxSgx;
      entry.ecx &= ~kEcxSgxLaunch;
      if (policy.emulated_ring0) entry.edx &= ~kEdxArchCapabilities;
      break;
    case kKvmFeatures:
      if (policy.emulated_ring0) {
        entry.eax &=
            ~(Bit(KVM_FEATURE_PV_UNHALT) | Bit(KVM_FEATURE_PV_SEND_IPI) | Bit(KVM_FEATURE_PV_SCHED_YIELD));
      }
      break;
    case kExtendedFeatures:
      entry.ecx &= ~kEcxSvm;
      break;
    default:
      break;
  }
}

kvm_cpuid_entry2 TopologyLevel(uint32_t index, uint32_t level, uint32_t shift, uint32_t processors,
                               uint32_t apic_id) {
  kvm_cpuid_entry2 entry = {};
  entry.function = kTopology;
  entry.index = index;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.eax = shift;
  entry.ebx = processors;
  entry.ecx = index | level;
  entry.edx = apic_id;
  return entry;
}

}  // namespace

std::vector<kvm_cpuid_entry2> MakeCpuidTemplate(std::vector<kvm_cpuid_entry2> supported,
                                                const CpuidPolicy& policy) {
  std::erase_if(supported, IsDropped);
  for (kvm_cpuid_entry2& entry : supported) Adapt(entry, policy);
  return supported;
}

std::vector<kvm_cpuid_entry2> CpuidOfVcpu(std::vector<kvm_cpuid_entry2> common, uint32_t apic_id,
                                          uint32_t vcpus) {
  const uint32_t core_bits = CoreIdBits(vcpus);
  for (kvm_cpuid_entry2& entry : common) {
    switch (entry.function) {
      case kFeatures:
        entry.ebx = (entry.ebx & 0x0000ffff) | std::min(1u << core_bits, 255u) << 16 | apic_id << 24;
        entry.edx = vcpus > 1 ? entry.edx | kEdxHyperThreading : entry.edx & ~kEdxHyperThreading;
        break;
      case kCacheParameters:
      case kAmdCacheParameters: {
        // EAX 25:14: how many share this cache. Levels 1 and 2 are a core's own, level 3 is the socket's.
        if ((entry.eax & 0x1f) == 0) break;  // no cache: the end of the list
        const uint32_t level = entry.eax >> 5 & 7;
        const uint32_t sharing = level >= 3 ? (1u << core_bits) - 1 : 0;
        entry.eax = (entry.eax & ~(0xfffu << 14)) | sharing << 14;
        // EAX 31:26 is Intel's count of cores in the socket.
        if (entry.function == kCacheParameters) {
          entry.eax = (entry.eax & 0x03ffffff) | std::min((1u << core_bits) - 1, 63u) << 26;
        }
        break;
      }
      case kAmdSizes:
        // ECX: core id bits of an APIC id, number of cores less one.
        entry.ecx = (entry.ecx & ~0xf0ffu) | core_bits << 12 | (vcpus - 1);
        break;
      case kAmdTopology:
        entry.eax = apic_id;
        entry.ebx = (entry.ebx & ~0xffffu) | (apic_id & 0xff);  // one thread a core
        entry.ecx &= ~0x7ffu;                                   // one node
        break;
      default:
        break;
    }
  }
  common.push_back(TopologyLevel(0, kLevelThread, 0, 1, apic_id));
  common.push_back(TopologyLevel(1, kLevelCore, core_bits, vcpus, apic_id));
  common.push_back(TopologyLevel(2, 0, 0, 0, apic_id));
  return common;
}

}  // namespace hmvm
