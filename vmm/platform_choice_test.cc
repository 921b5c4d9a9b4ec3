#include "vmm/platform_choice.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

const HostProbe kWithoutGate{.emulated_ring0 = true,
                             .hardware_usable = true,
                             .ring3_usable = false,
                             .ring3_refusal = "ring3: this host's KVM does not ...: needed for system calls",
                             .findings = {}};

TEST(PlatformChoiceTest, Ring3IsRefusedWithTheLineOfTheProbe) {
  const auto choice = DecidePlatform(PlatformChoice::kRing3, kWithoutGate);

  ASSERT_FALSE(choice.has_value());
  EXPECT_EQ(choice.error().Message(), kWithoutGate.ring3_refusal);
}

TEST(PlatformChoiceTest, WhereNeitherRunsTheLineIsTheSame) {
  const auto choice = DecidePlatform(PlatformChoice::kAuto, kWithoutGate);

  ASSERT_FALSE(choice.has_value());
  EXPECT_EQ(choice.error().Message(),
            "no platform runs on this host, see 'hmvm check': " + kWithoutGate.ring3_refusal);
}

TEST(PlatformChoiceTest, AWishThatCanBeHadIsTaken) {
  EXPECT_EQ(*DecidePlatform(PlatformChoice::kHardware, kWithoutGate), PlatformChoice::kHardware);
}

}  // namespace
}  // namespace hmvm
