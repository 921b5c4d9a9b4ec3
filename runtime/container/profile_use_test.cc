#include "runtime/container/profile_use.h"

#include <sys/syscall.h>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

ContainerConfig Config() {
  ContainerConfig config;
  config.security_profile = "small.yaml";
  config.memory_bytes = 256 << 20;
  return config;
}

TEST(ProfileUseTest, ACeilingIsTheLimitOfWhoAskedForNone) {
  ContainerConfig config = Config();

  ASSERT_TRUE(
      ApplyCeilings({.cpu_quota_us = 50'000, .pids = 10, .vmm_memory_bytes = 1 << 20}, config).has_value());

  EXPECT_EQ(config.resources.cpu_quota_us, 50'000u);
  EXPECT_EQ(config.resources.pids_limit, 10u);
  EXPECT_EQ(config.resources.vmm_memory_bytes, 1u << 20);
}

TEST(ProfileUseTest, MoreThanACeilingIsRefused) {
  ContainerConfig cpus = Config(), memory = Config(), pids = Config();
  cpus.resources.cpu_quota_us = 200'000;
  pids.resources.pids_limit = 11;

  EXPECT_EQ(ApplyCeilings({.cpu_quota_us = 150'000}, cpus).error().what,
            "--cpus: 2.00 is more than the 1.50 that security profile 'small.yaml' allows");
  EXPECT_EQ(ApplyCeilings({.memory_bytes = 64 << 20}, memory).error().what,
            "--memory: 256 MiB is more than the 64 MiB that security profile 'small.yaml' allows");
  EXPECT_EQ(ApplyCeilings({.pids = 10}, pids).error().what,
            "--pids-limit: 11 is more than the 10 that security profile 'small.yaml' allows");
}

TEST(ProfileUseTest, TheVmmsPolicyComesBackFromTheRecord) {
  SecurityProfile profile = *BuiltInProfile("strict");
  profile.vmm.extra_syscalls = {{.name = "getcpu", .number = SYS_getcpu}};
  profile.vmm.on_breach = OnBreach::kAudit;
  ContainerConfig config = Config();
  config.profile = FormatSecurityProfile(profile);

  EXPECT_EQ(VmmPolicyOf(config).value(), profile.vmm);
  EXPECT_EQ(VmmPolicyOf(ContainerConfig()).value(), VmmPolicy());
}

}  // namespace
}  // namespace hmvm
