#include "vmm/platform/ring3/monitor/mmu.h"

#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace hmvm::ring3 {

uint64_t LoadWord(uint64_t address) { return *reinterpret_cast<const uint64_t*>(address); }

namespace {

constexpr uint64_t kFrames = 64;
constexpr uint64_t kLowFrames = 48;  // the rest is a hole
constexpr uint64_t kEntries = 512;
constexpr uint64_t kKernelSlot = 300;
constexpr uint64_t kTable = kEntryPresent | kEntryWritable;
constexpr uint64_t kKernelAddress = 0xffff000000000000 | kKernelSlot << 39;
constexpr uint64_t kUserView = 0xe0214067;

uint64_t At(uint64_t frame) { return frame * kPageSize; }

class MmuTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kRoot = 1;
  static constexpr uint64_t kLevel3 = 2;
  static constexpr uint64_t kLevel2 = 3;
  static constexpr uint64_t kLevel1 = 4;
  static constexpr uint64_t kPage = 5;

  MmuTest() : ram_(kFrames * kEntries), types_(kFrames) {
    cpu_->low_frames = kLowFrames;
    cpu_->high_start = kFrames;
    cpu_->frames = kFrames;
    cpu_->direct_map = reinterpret_cast<uint64_t>(ram_.data());
    cpu_->page_types = reinterpret_cast<uint64_t>(types_.data());
    cpu_->kernel_root = At(kRoot);
    cpu_->user_view = kUserView;
    Table(kRoot)[kKernelSlot] = At(kLevel3) | kTable;
    Table(kLevel3)[0] = At(kLevel2) | kTable;
    Table(kLevel2)[0] = At(kLevel1) | kTable;
    Table(kLevel1)[0] = At(kPage) | kTable;
  }

  std::span<uint64_t> Table(uint64_t frame) { return std::span(ram_).subspan(frame * kEntries, kEntries); }
  int64_t Extended(MmuExtendedCommand command, uint64_t argument) {
    const MmuExtendedOperation operation = {command, 0, argument, 0};
    return MmuExtended(*cpu_, &operation, 1, nullptr);
  }
  int64_t Update(uint64_t address, uint64_t entry) {
    const uint64_t update[] = {address, entry};
    return MmuUpdate(*cpu_, update, 1, nullptr);
  }

  std::vector<uint64_t> ram_;
  std::vector<uint8_t> types_;
  std::unique_ptr<Cpu> cpu_ = std::make_unique<Cpu>();
};

TEST_F(MmuTest, PinnedRootGivesTheKernelsHalfTheUserBit) {
  Table(kRoot)[0] = At(kLevel3) | kTable;  // the user's half: as Linux left it

  EXPECT_EQ(Extended(kMmuPinL4, kRoot), 0);

  for (const uint64_t frame : {kLevel3, kLevel2, kLevel1}) {
    EXPECT_NE(Table(frame)[0] & kEntryUser, 0U) << frame;
    EXPECT_NE(types_[frame], 0) << frame;
  }
  EXPECT_NE(Table(kRoot)[kKernelSlot] & kEntryUser, 0U);
  EXPECT_EQ(Table(kRoot)[0] & kEntryUser, 0U);
}

TEST_F(MmuTest, EntryOfATableInUseGetsTheUserBit) {
  EXPECT_EQ(Extended(kMmuPinL4, kRoot), 0);

  EXPECT_EQ(Update(At(kLevel1) + 8, At(kPage) | kTable), 0);
  EXPECT_EQ(Update(At(kPage) + 8, At(kPage) | kTable), 0);

  EXPECT_EQ(Table(kLevel1)[1], At(kPage) | kTable | kEntryUser);
  EXPECT_EQ(Table(kPage)[1], At(kPage) | kTable);  // no table in use
}

TEST_F(MmuTest, FramesOutsideRamAreRefused) {
  for (const uint64_t frame : {kLowFrames, kFrames - 1, kFrames, uint64_t{0xe0000}, ~uint64_t{0} >> 12}) {
    EXPECT_NE(Update(At(frame), 1), 0) << frame;
    EXPECT_NE(Update(At(frame) | kMmuPreserveAccessedDirty, 1), 0) << frame;
    for (const auto command : {kMmuPinL1, kMmuPinL4, kMmuUnpin, kMmuNewRoot, kMmuNewUserRoot}) {
      EXPECT_NE(Extended(command, frame), 0) << frame << " command " << command;
    }
  }
  EXPECT_EQ(cpu_->kernel_root, At(kRoot));
}

TEST_F(MmuTest, WalkEndsWhereTablesLeaveRamOrEnd) {
  EXPECT_EQ(UpdateVaMapping(*cpu_, kKernelAddress, At(kPage) | kTable, 0), 0);

  Table(kLevel2)[0] |= kEntryLarge;
  EXPECT_NE(UpdateVaMapping(*cpu_, kKernelAddress, At(kPage) | kTable, 0), 0);
  Table(kLevel2)[0] = At(kLowFrames) | kTable;
  EXPECT_NE(UpdateVaMapping(*cpu_, kKernelAddress, At(kPage) | kTable, 0), 0);
  Table(kLevel2)[0] = 0;
  EXPECT_NE(UpdateVaMapping(*cpu_, kKernelAddress, At(kPage) | kTable, 0), 0);
}

TEST_F(MmuTest, RootOfAUserHasNothingAboveButItsView) {
  Table(kRoot)[0] = At(kLevel3) | kTable;
  Table(kRoot)[511] = At(kLevel3) | kTable;  // Linux's vsyscall table

  EXPECT_EQ(Extended(kMmuNewUserRoot, kRoot), 0);

  EXPECT_EQ(Table(kRoot)[0], At(kLevel3) | kTable);
  for (uint64_t slot = 256; slot < kEntries; ++slot) {
    EXPECT_EQ(Table(kRoot)[slot], slot == kMonitorSlot ? kUserView : 0) << slot;
  }
}

// Would take minutes if each way to a table were walked.
TEST_F(MmuTest, TablesThatLeadToThemselvesAreWalkedOnce) {
  for (uint64_t& entry : Table(kRoot)) entry = At(kRoot) | kTable;

  EXPECT_EQ(Extended(kMmuPinL4, kRoot), 0);

  EXPECT_NE(Table(kRoot)[511] & kEntryUser, 0U);
}

TEST_F(MmuTest, TablesWithManyAliasesAreWalkedOnce) {
  for (uint64_t slot = kFirstKernelSlot; slot < kEntries; ++slot) Table(kRoot)[slot] = At(kLevel3) | kTable;
  for (uint64_t& entry : Table(kLevel3)) entry = At(kLevel2) | kTable;
  for (uint64_t& entry : Table(kLevel2)) entry = At(kLevel1) | kTable;
  for (uint64_t& entry : Table(kLevel1)) entry = At(kPage) | kTable;

  EXPECT_EQ(Extended(kMmuPinL4, kRoot), 0);

  EXPECT_NE(Table(kLevel1)[511] & kEntryUser, 0U);
}

TEST_F(MmuTest, FlushesOfOtherVcpusAddUpToTheEndOfTheHypercall) {
  const uint64_t masks[] = {0b0010, 0b1000};
  const MmuExtendedOperation operations[] = {
      {kMmuFlushMulti, 0, 0, reinterpret_cast<uint64_t>(&masks[0])},
      {kMmuInvlpgMulti, 0, kKernelAddress, reinterpret_cast<uint64_t>(&masks[1])}};

  EXPECT_EQ(MmuExtended(*cpu_, operations, 2, nullptr), 0);

  EXPECT_EQ(cpu_->flush_vcpus, 0b1010U);
  EXPECT_EQ(cpu_->flush, 0U);
  EXPECT_EQ(Extended(kMmuFlushAll, 0), 0);
  EXPECT_EQ(cpu_->flush_vcpus, ~uint64_t{0});
}

}  // namespace
}  // namespace hmvm::ring3
