#include "vmm/boot/boot_params.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

constexpr uint64_t kMiB = 1 << 20;

BootLayout DefaultLayout(uint64_t kernel_end) {
  BootLayout layout = {.header = DefaultSetupHeader(), .kernel_end = kernel_end};
  return layout;
}

std::string TextAt(const GuestMemory& memory, uint64_t address, size_t size) {
  const auto bytes = memory.Slice(GuestAddress{address}, size).value();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(BootParamsTest, MapHasTheHolesBelowOneMegabyteAndBelowFourGigabytes) {
  const GuestMemory memory = GuestMemory::Create(kLowRamEnd + 16 * kMiB).value();

  const std::vector<boot_e820_entry> map = MakeE820Map(memory);

  ASSERT_EQ(map.size(), 4u);
  // Copies: the entries are packed, and EXPECT_EQ takes references.
  const auto start = [&](size_t i) { return uint64_t{map[i].addr}; };
  const auto end = [&](size_t i) { return uint64_t{map[i].addr + map[i].size}; };
  EXPECT_EQ(end(0), kReservedStart);
  EXPECT_EQ(start(1), kReservedStart);
  EXPECT_EQ(uint32_t{map[1].type}, 2u);
  EXPECT_EQ(start(2), kMiB);
  EXPECT_EQ(end(2), kLowRamEnd);
  EXPECT_EQ(start(3), kHighRamStart);
  EXPECT_EQ(end(3), kHighRamStart + 16 * kMiB);
}

TEST(BootParamsTest, CommandLineAndInitrdAreWhereTheParametersSay) {
  const GuestMemory memory = GuestMemory::Create(16 * kMiB).value();
  const std::vector<std::byte> initrd(5000, std::byte{7});

  ASSERT_TRUE(WriteBootParams(memory, DefaultLayout(2 * kMiB), "quiet", initrd).has_value());

  const auto params = memory.Read<boot_params>(kBootParamsAddress).value();
  EXPECT_EQ(TextAt(memory, params.hdr.cmd_line_ptr, 6), std::string("quiet", 6));
  EXPECT_EQ(params.hdr.ramdisk_size, 5000u);
  EXPECT_EQ(params.hdr.ramdisk_image, 16 * kMiB - 8192);
  EXPECT_EQ(memory.Read<std::byte>(GuestAddress{params.hdr.ramdisk_image + 4999}).value(), std::byte{7});
  EXPECT_EQ(params.e820_entries, 3u);
}

TEST(BootParamsTest, InitrdStaysBelowTheKernelsLimit) {
  const GuestMemory memory = GuestMemory::Create(64 * kMiB).value();
  BootLayout layout = DefaultLayout(2 * kMiB);
  layout.header.initrd_addr_max = 32 * kMiB - 1;

  ASSERT_TRUE(WriteBootParams(memory, layout, "", std::vector<std::byte>(4096)).has_value());

  EXPECT_EQ(memory.Read<boot_params>(kBootParamsAddress).value().hdr.ramdisk_image, 32 * kMiB - 4096);
}

TEST(BootParamsTest, InitrdThatMeetsTheKernelIsRefused) {
  const GuestMemory memory = GuestMemory::Create(4 * kMiB).value();
  const std::vector<std::byte> initrd(2 * kMiB);

  EXPECT_TRUE(WriteBootParams(memory, DefaultLayout(2 * kMiB), "", initrd).has_value());
  EXPECT_EQ(WriteBootParams(memory, DefaultLayout(2 * kMiB + 1), "", initrd).error().code, ENOMEM);
  EXPECT_EQ(WriteBootParams(memory, DefaultLayout(5 * kMiB), "", initrd).error().code, ENOMEM);
}

TEST(BootParamsTest, OverlongCommandLineIsRefused) {
  const GuestMemory memory = GuestMemory::Create(4 * kMiB).value();

  EXPECT_TRUE(WriteBootParams(memory, DefaultLayout(0), std::string(kMaxCommandLine, 'x'), {}).has_value());
  EXPECT_EQ(WriteBootParams(memory, DefaultLayout(0), std::string(kMaxCommandLine + 1, 'x'), {}).error().code,
            E2BIG);
}

}  // namespace
}  // namespace hmvm
