#include "security/container/capability_options.h"

#include <linux/capability.h>

#include <gtest/gtest.h>

#include "base/capabilities.h"

namespace hmvm {
namespace {

uint64_t Applied(const std::vector<std::string>& add, const std::vector<std::string>& drop) {
  return ApplyCapabilityOptions(DefaultCapabilities(), add, drop).value();
}

TEST(CapabilityOptionsTest, DefaultIsDockers) {
  EXPECT_EQ(DefaultCapabilities(), 0xa80425fb);
  EXPECT_EQ(Applied({}, {}), DefaultCapabilities());
}

TEST(CapabilityOptionsTest, NamesComeWithAndWithoutPrefixInAnyCase) {
  EXPECT_EQ(Applied({"net_admin"}, {}), DefaultCapabilities() | CapabilityBit(CAP_NET_ADMIN));
  EXPECT_EQ(Applied({"CAP_NET_ADMIN"}, {"Chown"}),
            (DefaultCapabilities() | CapabilityBit(CAP_NET_ADMIN)) & ~CapabilityBit(CAP_CHOWN));
}

TEST(CapabilityOptionsTest, AllAndWhatRemains) {
  EXPECT_EQ(Applied({"ALL"}, {}), AllCapabilities());
  EXPECT_EQ(Applied({"all"}, {"SYS_ADMIN"}), AllCapabilities() & ~CapabilityBit(CAP_SYS_ADMIN));
  EXPECT_EQ(Applied({}, {"ALL"}), 0u);
  EXPECT_EQ(Applied({"KILL"}, {"ALL"}), CapabilityBit(CAP_KILL));
  EXPECT_EQ(Applied({"KILL"}, {"KILL"}), DefaultCapabilities());
}

TEST(CapabilityOptionsTest, ErrorsNameOptionAndName) {
  const auto unknown = ApplyCapabilityOptions(0, {"SYS_ADMN"}, {});
  const auto contradiction = ApplyCapabilityOptions(0, {"ALL"}, {"ALL"});

  EXPECT_EQ(unknown.error().what, "--cap-add: unknown capability 'SYS_ADMN'; did you mean 'CAP_SYS_ADMIN'?");
  EXPECT_FALSE(contradiction.has_value());
}

}  // namespace
}  // namespace hmvm
