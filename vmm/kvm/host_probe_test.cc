#include "vmm/kvm/host_probe.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(HostProbeTest, NativeRing0MeansHardware) {
  const HostProbe probe{.emulated_ring0 = false,
                        .hardware_usable = true,
                        .ring3_usable = true,
                        .ring3_refusal = "",
                        .findings = {}};

  EXPECT_EQ(probe.BestPlatform(), "hardware");
}

TEST(HostProbeTest, EmulatedRing0MeansRing3) {
  const HostProbe probe{.emulated_ring0 = true,
                        .hardware_usable = true,
                        .ring3_usable = true,
                        .ring3_refusal = "",
                        .findings = {}};

  EXPECT_EQ(probe.BestPlatform(), "ring3");
}

TEST(HostProbeTest, EmulatedRing0WithoutItsGatesMeansNone) {
  const HostProbe probe{.emulated_ring0 = true,
                        .hardware_usable = true,
                        .ring3_usable = false,
                        .ring3_refusal = "ring3: ...",
                        .findings = {}};

  EXPECT_EQ(probe.BestPlatform(), "");
}

// On this very host: whatever it is, one of the two platforms must fit, and each finding must say something.
TEST(HostProbeKvmTest, ThisHostIsUnderstood) {
  const auto kvm = Kvm::Open();
  if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();

  const auto probe = ProbeHost(*kvm);

  ASSERT_TRUE(probe.has_value()) << probe.error().Message();
  std::string findings;
  for (const HostFinding& finding : probe->findings) {
    EXPECT_FALSE(finding.value.empty()) << finding.name;
    findings += finding.name + ": " + finding.value + "; " + finding.meaning + "\n";
  }
  EXPECT_NE(probe->BestPlatform(), "") << findings;
  RecordProperty("findings", findings);
}

}  // namespace
}  // namespace hmvm
