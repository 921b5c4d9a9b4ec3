#include "vmm/boot/mptable.h"

#include <cstring>
#include <span>
#include <string>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

constexpr size_t kPointerBytes = 16;

uint8_t Sum(std::span<const std::byte> bytes) {
  uint8_t sum = 0;
  for (const std::byte byte : bytes) sum = static_cast<uint8_t>(sum + std::to_integer<uint8_t>(byte));
  return sum;
}

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(MpTableTest, BothStructuresAreSignedAndSumToZero) {
  const std::vector<std::byte> table = MakeMpTable(4);
  const auto all = std::span(table);

  EXPECT_EQ(Text(all.first(4)), "_MP_");
  EXPECT_EQ(Sum(all.first(kPointerBytes)), 0);
  EXPECT_EQ(Text(all.subspan(kPointerBytes, 4)), "PCMP");
  EXPECT_EQ(Sum(all.subspan(kPointerBytes)), 0);
}

TEST(MpTableTest, PointerPointsBehindItself) {
  const std::vector<std::byte> table = MakeMpTable(1);
  uint32_t address;
  std::memcpy(&address, table.data() + 4, sizeof(address));

  EXPECT_EQ(address, kMpTableAddress + kPointerBytes);
}

TEST(MpTableTest, LengthAndEntryCountMatchTheProcessors) {
  const std::vector<std::byte> one = MakeMpTable(1);
  const std::vector<std::byte> most = MakeMpTable(kMaxMpProcessors);
  uint16_t length, entries;
  std::memcpy(&length, most.data() + kPointerBytes + 4, sizeof(length));
  std::memcpy(&entries, most.data() + kPointerBytes + 34, sizeof(entries));

  EXPECT_EQ(most.size() - one.size(), (kMaxMpProcessors - 1) * 20);
  EXPECT_EQ(length, most.size() - kPointerBytes);
  EXPECT_EQ(entries, kMaxMpProcessors + 1 + 1 + kIoApicPins + 2);
  EXPECT_LE(kMpTableAddress + most.size(), 0x100000u);
}

}  // namespace
}  // namespace hmvm
