#include "base/capabilities.h"

#include <linux/capability.h>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(CapabilitiesTest, NamesHaveTheKernelsNumbers) {
  EXPECT_EQ(FindCapability("CAP_CHOWN"), CapabilityBit(CAP_CHOWN));
  EXPECT_EQ(FindCapability("CAP_SYS_ADMIN"), CapabilityBit(CAP_SYS_ADMIN));
  EXPECT_EQ(FindCapability("CAP_CHECKPOINT_RESTORE"), CapabilityBit(CAP_CHECKPOINT_RESTORE));
  EXPECT_FALSE(FindCapability("SYS_ADMIN").has_value());
  EXPECT_FALSE(FindCapability("cap_chown").has_value());
}

TEST(CapabilitiesTest, ASetIsListedByNumber) {
  const uint64_t set = CapabilityBit(CAP_KILL) | CapabilityBit(CAP_CHOWN);

  EXPECT_EQ(NamesOfCapabilities(set), (std::vector<std::string>{"CAP_CHOWN", "CAP_KILL"}));
  EXPECT_EQ(NamesOfCapabilities(AllCapabilities()).size(), CapabilityNames().size());
}

}  // namespace
}  // namespace hmvm
