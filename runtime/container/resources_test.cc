#include "runtime/container/resources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/container/record.h"

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;

TEST(ResourcesTest, CpusAreAQuotaToTheMicrosecond) {
  EXPECT_EQ(ParseCpuQuota("2"), 200'000u);
  EXPECT_EQ(ParseCpuQuota("0.5"), 50'000u);
  EXPECT_EQ(ParseCpuQuota(".5"), 50'000u);
  EXPECT_EQ(ParseCpuQuota("1."), 100'000u);
  EXPECT_EQ(ParseCpuQuota("1.33333"), 133'333u);
  EXPECT_EQ(ParseCpuQuota("0.333333333"), 33'333u);
  EXPECT_EQ(ParseCpuQuota("0.01"), 1000u);
}

TEST(ResourcesTest, CpusThatAreNoNumberOrTooFewAreRefused) {
  for (const char* text : {"", ".", "0", "0.0", "0.009", "-1", "+1", "1,5", "1e3", "1.5.2", "0x1", " 1",
                           "9999999999", "0.0123456789"}) {
    const auto quota = ParseCpuQuota(text);
    ASSERT_FALSE(quota.has_value()) << text;
    EXPECT_THAT(quota.error().what, HasSubstr("0.01 or more")) << text;
  }
}

TEST(ResourcesTest, AMachineHasAsManyProcessorsAsItsQuotaNeeds) {
  EXPECT_EQ(CpusForQuota(1000), 1u);
  EXPECT_EQ(CpusForQuota(100'000), 1u);
  EXPECT_EQ(CpusForQuota(100'001), 2u);
  EXPECT_EQ(CpusForQuota(250'000), 3u);
}

TEST(ResourcesTest, CpuSharesHaveDockersRange) {
  EXPECT_EQ(ParseCpuShares("0"), 0u);
  EXPECT_EQ(ParseCpuShares("2"), 2u);
  EXPECT_EQ(ParseCpuShares("262144"), 262144u);
  EXPECT_THAT(ParseCpuShares("1").error().what, HasSubstr("minimum allowed cpu-shares is 2"));
  EXPECT_THAT(ParseCpuShares("262145").error().what, HasSubstr("maximum allowed cpu-shares is 262144"));
  EXPECT_FALSE(ParseCpuShares("many").has_value());
  EXPECT_FALSE(ParseCpuShares("-2").has_value());
}

TEST(ResourcesTest, CpusetsAreNumbersAndRanges) {
  EXPECT_THAT(ParseCpuset("0").value(), ElementsAre(0));
  EXPECT_THAT(ParseCpuset("3,0-2,1").value(), ElementsAre(0, 1, 2, 3));
  for (const char* text : {"", ",", "0,", "a", "1-", "-1", "2-1", "0-8192", "0-1-2", "0 1"}) {
    const auto cpus = ParseCpuset(text);
    ASSERT_FALSE(cpus.has_value()) << text;
    EXPECT_THAT(cpus.error().what, HasSubstr("invalid value for cpuset cpus")) << text;
  }
}

TEST(ResourcesTest, PidsLimitOfNoneIsWrittenInTwoWays) {
  EXPECT_EQ(ParsePidsLimit("100"), 100u);
  EXPECT_EQ(ParsePidsLimit("0"), 0u);
  EXPECT_EQ(ParsePidsLimit("-1"), 0u);
  EXPECT_FALSE(ParsePidsLimit("-2").has_value());
  EXPECT_FALSE(ParsePidsLimit("some").has_value());
  EXPECT_FALSE(ParsePidsLimit("9999999999").has_value());
}

TEST(ResourcesTest, DeviceRatesAreDockersAndTheDeviceIsTheGuests) {
  EXPECT_EQ(ParseDeviceRate("/dev/vda:1mb", true), (DeviceRate{"/dev/vda", kMiB}));
  EXPECT_EQ(ParseDeviceRate("/dev/vda:4096", true), (DeviceRate{"/dev/vda", 4096}));
  EXPECT_EQ(ParseDeviceRate("/dev/vda:50", false), (DeviceRate{"/dev/vda", 50}));
  for (const char* text :
       {"", "/dev/vda", "/dev/vda:", "/dev/vda:0", "/dev/vda:-1", "/dev/vda:fast", "vda:1mb", ":1"}) {
    const auto rate = ParseDeviceRate(text, true);
    ASSERT_FALSE(rate.has_value()) << text;
    EXPECT_THAT(rate.error().what, HasSubstr("<device-path>:<number>")) << text;
  }
  EXPECT_FALSE(ParseDeviceRate("/dev/vda:1mb", false).has_value());
  EXPECT_THAT(ParseDeviceRate("/dev/sda:1mb", true).error().what,
              HasSubstr("one disk of a container is /dev/vda"));
}

const HostProcessors kHost = {.count = 4, .online = "0-3"};

TEST(ResourcesTest, WhatTheHostDoesNotHaveIsRefusedWithWhatItHas) {
  EXPECT_TRUE(
      CheckResources({.cpu_quota_us = 400'000, .cpuset_cpus = "1,3"}, 4, 256 * kMiB, kHost).has_value());
  EXPECT_THAT(CheckResources({}, 5, 256 * kMiB, kHost).error().what,
              HasSubstr("range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"));
  EXPECT_THAT(CheckResources({.cpuset_cpus = "2-4"}, 1, 256 * kMiB, kHost).error().what,
              HasSubstr("requested 2-4, available: 0-3"));
  EXPECT_THAT(CheckResources({}, 1, 6 * kMiB - 1, kHost).error().what, HasSubstr("6MB"));
}

TEST(ResourcesTest, MemorySwapIsTheSumOfBoth) {
  EXPECT_EQ(ParseMemorySwap("-1"), -1);
  EXPECT_EQ(ParseMemorySwap("1g"), int64_t{1} << 30);
  EXPECT_FALSE(ParseMemorySwap("-2").has_value());

  EXPECT_FALSE(CheckResources({.memory_swap_bytes = 100 * kMiB}, 1, 256 * kMiB, kHost).has_value());
  EXPECT_TRUE(CheckResources({.memory_swap_bytes = 256 * kMiB}, 1, 256 * kMiB, kHost).has_value());
  EXPECT_TRUE(CheckResources({.memory_swap_bytes = -1}, 1, 256 * kMiB, kHost).has_value());

  EXPECT_THAT(ResourceWarnings({}, 256 * kMiB), IsEmpty());
  EXPECT_THAT(ResourceWarnings({.memory_swap_bytes = 256 * kMiB}, 256 * kMiB), IsEmpty());
  EXPECT_THAT(ResourceWarnings({.memory_swap_bytes = 512 * kMiB}, 256 * kMiB),
              ElementsAre(HasSubstr("the guest has no swap")));
  EXPECT_THAT(ResourceWarnings({.memory_swap_bytes = -1}, 256 * kMiB), ElementsAre(HasSubstr("has no swap")));

  EXPECT_EQ(HostLimits({}, 256 * kMiB).swap_bytes, std::nullopt);
  EXPECT_EQ(HostLimits({.memory_swap_bytes = -1}, 256 * kMiB).swap_bytes, std::nullopt);
  EXPECT_EQ(HostLimits({.memory_swap_bytes = 256 * kMiB}, 256 * kMiB).swap_bytes, 0u);
  EXPECT_EQ(HostLimits({.memory_swap_bytes = 300 * kMiB}, 256 * kMiB).swap_bytes, 44 * kMiB);
}

TEST(ResourcesTest, TheContainerMeetsItsLimitBeforeItsGuestAndTheVmm) {
  for (const uint64_t memory_bytes : {64 * kMiB, 128 * kMiB, 256 * kMiB, 8192 * kMiB}) {
    EXPECT_LT(GuestMemoryMax(memory_bytes), memory_bytes);
    EXPECT_GE(HostLimits({}, memory_bytes).memory_bytes, memory_bytes + 128 * kMiB);
  }
  EXPECT_GT(GuestMemoryMax(0), 0u) << "0 would be no limit";
}

TEST(ResourcesTest, LimitsOfDisksAreForTheVmm) {
  EXPECT_EQ(IoLimitsFlag({}), "");
  EXPECT_EQ(IoLimitsFlag({.device_read_bps = {{"/dev/vda", 5}}, .device_read_iops = {{"/dev/vda", 7}}}),
            "vda.read_bps=5,vda.read_iops=7");
}

TEST(ResourcesTest, RecordsKeepThem) {
  ContainerConfig config;
  config.resources = {.cpu_quota_us = 50'000,
                      .cpu_shares = 512,
                      .cpuset_cpus = "0-1",
                      .memory_swap_bytes = -1,
                      .pids_limit = 100,
                      .device_read_bps = {{"/dev/vda", 1}},
                      .device_write_bps = {{"/dev/vda", 2}},
                      .device_read_iops = {{"/dev/vda", 3}, {"/dev/vda", 4}},
                      .device_write_iops = {{"/dev/vda", 5}}};
  ContainerRecord record = NewContainerRecord(std::string(64, 'a'), "web", config);
  record.oom_killed = true;

  const auto decoded = DecodeContainerRecord(EncodeContainerRecord(record));

  ASSERT_TRUE(decoded.has_value()) << decoded.error().Message();
  EXPECT_EQ(*decoded, record);
}

}  // namespace
}  // namespace hmvm
