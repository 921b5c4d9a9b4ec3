#include <linux/capability.h>

#include <gtest/gtest.h>

#include "guest/agent/capabilities.h"
#include "guest/agent/rlimits.h"

namespace hmvm::agent {
namespace {

TEST(ParseCapabilitiesTest, NamesBecomeTheKernelsNumbers) {
  const auto set = ParseCapabilities({"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"});

  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(*set,
            uint64_t{1} << CAP_CHOWN | uint64_t{1} << CAP_SYS_ADMIN | uint64_t{1} << CAP_CHECKPOINT_RESTORE);
}

TEST(ParseCapabilitiesTest, UnknownNameIsRefused) {
  const auto set = ParseCapabilities({"CAP_FLY"});

  ASSERT_FALSE(set.has_value());
  EXPECT_EQ(set.error().code, EINVAL);
}

TEST(ParseRlimitTypeTest, NamesBecomeTheKernelsNumbers) {
  EXPECT_EQ(ParseRlimitType("RLIMIT_NOFILE").value_or(-1), static_cast<int>(RLIMIT_NOFILE));
  EXPECT_FALSE(ParseRlimitType("NOFILE").has_value());
}

}  // namespace
}  // namespace hmvm::agent
