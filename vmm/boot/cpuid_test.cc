#include "vmm/boot/cpuid.h"

#include <linux/kvm_para.h>

#include <algorithm>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using Entries = std::vector<kvm_cpuid_entry2>;

// All bits of all leaves that we look at.
Entries Everything() {
  Entries entries;
  for (const uint32_t function : {1u, 4u, 7u, 0xau, 0xbu, 0x12u, 0x1fu, 0x40000001u, 0x80000001u, 0x80000008u,
                                  0x8000001du, 0x8000001eu}) {
    kvm_cpuid_entry2 entry = {};
    entry.function = function;
    entry.eax = entry.ebx = entry.ecx = entry.edx = UINT32_MAX;
    entries.push_back(entry);
  }
  return entries;
}

const kvm_cpuid_entry2* Find(const Entries& entries, uint32_t function, uint32_t index = 0) {
  const auto found = std::ranges::find_if(entries, [&](const kvm_cpuid_entry2& entry) {
    return entry.function == function && entry.index == index;
  });
  return found == entries.end() ? nullptr : &*found;
}

TEST(CpuidTest, NestedVirtualizationCountersAndSgxAreNotOffered) {
  const Entries entries = MakeCpuidTemplate(Everything(), {});

  EXPECT_EQ(Find(entries, 1)->ecx & 1u << 5, 0u);
  EXPECT_EQ(Find(entries, 0x80000001)->ecx & 1u << 2, 0u);
  EXPECT_EQ(Find(entries, 7)->ebx & 1u << 2, 0u);
  EXPECT_EQ(Find(entries, 0xa), nullptr);
  EXPECT_EQ(Find(entries, 0x12), nullptr);
}

TEST(CpuidTest, HypervisorAndDeadlineTimerAreTold) {
  Entries nothing = {kvm_cpuid_entry2{}};
  nothing[0].function = 1;

  EXPECT_EQ(MakeCpuidTemplate(nothing, {.tsc_deadline_timer = true})[0].ecx, 1u << 31 | 1u << 24);
  EXPECT_EQ(MakeCpuidTemplate(nothing, {})[0].ecx, 1u << 31);
}

TEST(CpuidTest, EmulatedRing0LosesWhatItsInterpreterLacks) {
  const Entries native = MakeCpuidTemplate(Everything(), {});
  const Entries emulated = MakeCpuidTemplate(Everything(), {.emulated_ring0 = true});

  EXPECT_NE(Find(native, 1)->ecx & 1u << 13, 0u);
  EXPECT_EQ(Find(emulated, 1)->ecx & 1u << 13, 0u);
  EXPECT_EQ(Find(emulated, 7)->edx & 1u << 29, 0u);
  EXPECT_NE(Find(native, 0x40000001)->eax & 1u << KVM_FEATURE_PV_SEND_IPI, 0u);
  EXPECT_EQ(Find(emulated, 0x40000001)->eax & 1u << KVM_FEATURE_PV_SEND_IPI, 0u);
}

TEST(CpuidTest, EachVcpuFindsItsOwnApicId) {
  const Entries entries = CpuidOfVcpu(MakeCpuidTemplate(Everything(), {}), 5, 6);

  EXPECT_EQ(Find(entries, 1)->ebx >> 24, 5u);
  EXPECT_EQ(Find(entries, 0xb, 0)->edx, 5u);
  EXPECT_EQ(Find(entries, 0xb, 1)->edx, 5u);
  EXPECT_EQ(Find(entries, 0x8000001e)->eax, 5u);
}

TEST(CpuidTest, TopologyIsOneSocketOfSingleThreadedCores) {
  const Entries entries = CpuidOfVcpu(MakeCpuidTemplate(Everything(), {}), 0, 6);

  EXPECT_EQ(Find(entries, 1)->ebx >> 16 & 0xff, 8u);  // APIC ids reserved: a power of two
  EXPECT_EQ(Find(entries, 0xb, 0)->ebx, 1u);
  EXPECT_EQ(Find(entries, 0xb, 1)->eax, 3u);
  EXPECT_EQ(Find(entries, 0xb, 1)->ebx, 6u);
  EXPECT_EQ(Find(entries, 0xb, 2)->ecx, 2u);
  EXPECT_EQ(Find(entries, 0x80000008)->ecx & 0xff, 5u);
}

TEST(CpuidTest, SingleVcpuHasNoHyperThreadingBit) {
  EXPECT_EQ(Find(CpuidOfVcpu(Everything(), 0, 1), 1)->edx & 1u << 28, 0u);
  EXPECT_NE(Find(CpuidOfVcpu(Everything(), 0, 2), 1)->edx & 1u << 28, 0u);
}

}  // namespace
}  // namespace hmvm
