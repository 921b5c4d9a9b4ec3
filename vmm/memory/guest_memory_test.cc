#include "vmm/memory/guest_memory.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(GuestMemoryTest, SliceThatWrapsIsRefused) {
  const GuestMemory memory = GuestMemory::Create(4096).value();

  const auto slice = memory.Slice(GuestAddress{4096 - 8}, UINT64_MAX);

  ASSERT_FALSE(slice.has_value());
  EXPECT_EQ(slice.error().code, EFAULT);
}

TEST(GuestMemoryTest, LastByteIsInsideAndTheNextIsNot) {
  const GuestMemory memory = GuestMemory::Create(8192).value();

  EXPECT_TRUE(memory.Slice(GuestAddress{8191}, 1).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{8191}, 2).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{8193}, 0).has_value());
}

TEST(GuestMemoryTest, MemoryAboveTheHoleGoesOnAtFourGigabytes) {
  const GuestMemory memory = GuestMemory::Create(kLowRamEnd + 4096).value();

  EXPECT_FALSE(memory.Slice(GuestAddress{kLowRamEnd}, 1).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{kLowRamEnd - 1}, 2).has_value());
  EXPECT_TRUE(memory.Slice(GuestAddress{kHighRamStart}, 4096).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{kHighRamStart}, 4097).has_value());
}

TEST(GuestMemoryTest, ValuesAreReadAsWritten) {
  const GuestMemory memory = GuestMemory::Create(4096).value();

  ASSERT_TRUE(memory.Write<uint32_t>(GuestAddress{5}, 0xdeadbeef).has_value());

  EXPECT_EQ(memory.Read<uint32_t>(GuestAddress{5}).value(), 0xdeadbeefu);
}

TEST(GuestMemoryTest, HugePagesAreAHintThatChangesNoContentAndTakesAnyRange) {
  const GuestMemory memory = GuestMemory::Create(4 << 20).value();
  ASSERT_TRUE(memory.Write<uint32_t>(GuestAddress{0x200000}, 7).has_value());

  memory.PreferHugePages(GuestAddress{0x200000}, 0x100000);
  memory.PreferHugePages(GuestAddress{0x200000}, UINT64_MAX);
  memory.PreferHugePages(GuestAddress{UINT64_MAX}, 1);

  EXPECT_EQ(memory.Read<uint32_t>(GuestAddress{0x200000}).value(), 7u);
}

TEST(GuestMemoryTest, SizeThatIsNotWholePagesIsRefused) {
  EXPECT_FALSE(GuestMemory::Create(4097).has_value());
}

TEST(GuestMemoryTest, AddedMemoryLiesAt4GiBAndItsRoomIsNoMemory) {
  constexpr uint64_t kBooted = 8 << 20;
  constexpr uint64_t kAdded = 2 << 20;
  const GuestMemory memory = *GuestMemory::Create(kBooted, {.bytes = kAdded, .region_bytes = 1 << 30});

  EXPECT_EQ(memory.booted_regions().size(), 1u);
  EXPECT_EQ(memory.booted_bytes(), kBooted);
  EXPECT_EQ(memory.added().size(), kAdded);
  EXPECT_TRUE(memory.Slice(GuestAddress{kHighRamStart}, kAdded).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{kHighRamStart}, kAdded + 1).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{kHighRamStart + kAdded}, 1).has_value());
  EXPECT_FALSE(memory.Slice(GuestAddress{kBooted}, 1).has_value());
}

TEST(GuestMemoryTest, MoreThanThereIsRoomForCannotBeAdded) {
  EXPECT_FALSE(GuestMemory::Create(1 << 20, {.bytes = 8192, .region_bytes = 4096}).has_value());
  EXPECT_FALSE(GuestMemory::Create(kLowRamEnd + 4096, {.bytes = 0, .region_bytes = 1 << 30}).has_value());
}

}  // namespace
}  // namespace hmvm
