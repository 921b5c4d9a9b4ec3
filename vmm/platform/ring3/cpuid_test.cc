#include "vmm/platform/ring3/cpuid.h"

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

TEST(GuestCpuidTest, ShowsXen) {
  const CpuidResult leaf = GuestCpuid(0x40000000, 0);

  EXPECT_EQ(leaf.ebx, 0x566e6558U);
  EXPECT_GE(leaf.eax, 0x40000002U);
}

TEST(GuestCpuidTest, HidesWhatIsPrivileged) {
  constexpr uint32_t kX2apic = 1 << 21;
  constexpr uint32_t kPcid = 1 << 17;
  constexpr uint32_t kPse = 1 << 3;
  constexpr uint32_t kApic = 1 << 9;

  EXPECT_EQ(GuestCpuid(1, 0).ecx & (kX2apic | kPcid), 0U);
  EXPECT_EQ(GuestCpuid(1, 0).edx & (kPse | kApic), 0U);
}

TEST(GuestCpuidTest, XsaveAreaFitsItsComponents) {
  const CpuidResult standard = GuestCpuid(0xd, 0);
  const CpuidResult compacted = GuestCpuid(0xd, 1);

  EXPECT_EQ(standard.eax, HostXcr0());
  EXPECT_GE(standard.ebx, 576U);
  EXPECT_GE(compacted.ebx, 576U);
  EXPECT_LE(compacted.ebx, standard.ecx);
}

TEST(GuestCpuidTest, ComponentsThatAreNotSavedAreNotShown) {
  for (uint32_t component = 2; component < 64; ++component) {
    if (component < 63 && (HostXcr0() >> component & 1) != 0) continue;
    EXPECT_EQ(GuestCpuid(0xd, component).eax, 0U) << component;
  }
}

TEST(GuestCpuidTest, KvmTakesTheVcpuForIntels) {
  kvm_cpuid_entry2 entries[2] = {};
  entries[0].eax = 0xd;
  entries[1].function = 1;

  DenySyscallTo32Bits(entries);

  EXPECT_EQ(entries[0].eax, 0xdu);
  EXPECT_EQ(entries[0].ebx, 0x756e6547u);
  EXPECT_EQ(entries[0].edx, 0x49656e69u);
  EXPECT_EQ(entries[0].ecx, 0x6c65746eu);
  EXPECT_EQ(entries[1].ebx, 0u);
}

}  // namespace
}  // namespace hmvm::ring3
