#include "vmm/platform/ring3/guest_access.h"

#include <array>

#include <gtest/gtest.h>

#include "vmm/memory/write_marks.h"
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kMemoryBytes = 4 << 20;
constexpr uint64_t kRoot = 0x1000;
constexpr uint64_t kLevel3 = 0x2000;
constexpr uint64_t kLevel2 = 0x3000;
constexpr uint64_t kLevel1 = 0x4000;
constexpr uint64_t kAddress = 0xffffffff80000000;
constexpr uint64_t kFlags = kEntryPresent | kEntryWritable;

class GuestAccessTest : public ::testing::Test {
 protected:
  GuestAccessTest() : memory_(*GuestMemory::Create(kMemoryBytes)), access_(&memory_) {
    Set(kRoot, 511, kLevel3 | kFlags);
    Set(kLevel3, 510, kLevel2 | kFlags);
    Set(kLevel2, 0, kLevel1 | kFlags);
    Set(kLevel1, 0, 0x8000 | kFlags);
    Set(kLevel1, 1, 0xa000 | kFlags);
  }
  void Set(uint64_t table, uint64_t index, uint64_t entry) {
    ASSERT_TRUE(memory_.Write(GuestAddress{table + 8 * index}, entry).has_value());
  }

  GuestMemory memory_;
  GuestAccess access_;
};

TEST_F(GuestAccessTest, TranslatesThroughFourLevels) {
  EXPECT_EQ(access_.Translate(kRoot, kAddress + 0x123), GuestAddress{0x8123});
  EXPECT_EQ(access_.Translate(kRoot, kAddress + 0x1fff), GuestAddress{0xafff});
}

TEST_F(GuestAccessTest, AbsentEntryIsRefusedAtEachLevel) {
  EXPECT_FALSE(access_.Translate(kRoot, 0).has_value());
  EXPECT_FALSE(access_.Translate(kRoot, kAddress + 0x40000000).has_value());
  EXPECT_FALSE(access_.Translate(kRoot, kAddress + 0x200000).has_value());
  EXPECT_FALSE(access_.Translate(kRoot, kAddress + 0x2000).has_value());
}

TEST_F(GuestAccessTest, LargePagesKeepTheirOffset) {
  Set(kLevel2, 1, 0x200000 | kFlags | kEntryLarge);
  Set(kLevel3, 511, 0 | kFlags | kEntryLarge);

  EXPECT_EQ(access_.Translate(kRoot, kAddress + 0x234567), GuestAddress{0x234567});
  EXPECT_EQ(access_.Translate(kRoot, kAddress + 0x40000000 + 0x12345), GuestAddress{0x12345});
}

TEST_F(GuestAccessTest, TableOutsideRamIsRefused) {
  Set(kLevel2, 0, (kEntryAddress & ~0xfffULL) | kFlags);
  EXPECT_FALSE(access_.Translate(kRoot, kAddress).has_value());
  EXPECT_FALSE(access_.Translate(UINT64_MAX, kAddress).has_value());
  EXPECT_FALSE(access_.Translate(kMemoryBytes, kAddress).has_value());
}

TEST_F(GuestAccessTest, PageOutsideRamIsTranslatedButNotRead) {
  Set(kLevel1, 0, kMemoryBytes | kFlags);
  uint64_t value = 0;

  EXPECT_FALSE(access_.Read(kRoot, kAddress, &value));
}

TEST_F(GuestAccessTest, PiecesAcrossPagesGoWhereTheyBelong) {
  constexpr std::array<char, 4> kText = {'a', 'b', 'c', 'd'};

  ASSERT_TRUE(access_.Write(kRoot, kAddress + 0xffe, kText));

  EXPECT_EQ(*memory_.Read<char>(GuestAddress{0x8fff}), 'b');
  EXPECT_EQ(*memory_.Read<char>(GuestAddress{0xa000}), 'c');
  std::array<char, 4> back = {};
  ASSERT_TRUE(access_.Read(kRoot, kAddress + 0xffe, &back));
  EXPECT_EQ(back, kText);
}

TEST_F(GuestAccessTest, PagesThatAreWrittenToCountAsChanged) {
  ASSERT_TRUE(memory_.write_marks().TurnOn().has_value());
  const std::array<char, 4> text = {'a', 'b', 'c', 'd'};

  ASSERT_TRUE(access_.Write(kRoot, kAddress + 0xffe, text));
  PageBitmap changed(kMemoryBytes / kPageBytes);
  memory_.write_marks().CollectInto(changed, memory_.size_bytes() / kPageBytes, 0);

  EXPECT_TRUE(changed.Has(8) && changed.Has(10));
  EXPECT_EQ(changed.Count(), 2u);
}

TEST_F(GuestAccessTest, AddressThatWrapsIsRefused) {
  std::array<std::byte, 64> bytes;
  EXPECT_FALSE(access_.Read(kRoot, UINT64_MAX - 8, bytes));
}

TEST_F(GuestAccessTest, TablesThatLeadInACircleEnd) {
  Set(kRoot, 0, kRoot | kFlags);
  EXPECT_EQ(access_.Translate(kRoot, 0), GuestAddress{kRoot});
}

}  // namespace
}  // namespace hmvm::ring3
