#include "vmm/platform/ring3/window.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <gtest/gtest.h>

#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

// What a root's slot of the monitor maps: address to leaf entry, the permissions of all levels combined.
std::map<uint64_t, uint64_t> LeavesBelow(const Window& window, uint64_t entry, int level, uint64_t address) {
  std::map<uint64_t, uint64_t> leaves;
  const std::span<const std::byte> bytes = window.bytes();
  const uint64_t table = (entry & kEntryAddress) - kPlatformWindowStart;
  for (uint64_t i = 0; i < 512; ++i) {
    uint64_t next;
    std::memcpy(&next, bytes.data() + table + 8 * i, sizeof(next));
    if ((next & kEntryPresent) == 0) continue;
    const uint64_t at = address + (i << (12 + 9 * (level - 1)));
    if (level == 1 || (next & kEntryLarge) != 0) {
      leaves[at] = next & (entry | ~(kEntryUser | kEntryWritable));
    } else {
      leaves.merge(LeavesBelow(window, next, level - 1, at));
    }
  }
  return leaves;
}

class WindowTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kVcpus = 2;

  WindowTest() : memory_(*GuestMemory::Create(64 << 20)), window_(*Window::Create(memory_, kVcpus)) {}
  std::map<uint64_t, uint64_t> View(uint64_t entry) { return LeavesBelow(window_, entry, 3, kMonitorBase); }

  GuestMemory memory_;
  Window window_;
};

TEST_F(WindowTest, UserReachesOnePageOfEachVcpuAndCannotWriteIt) {
  std::map<uint64_t, uint64_t> reachable;
  for (const auto& [address, entry] : View(window_.cpu(0).user_view)) {
    if ((entry & kEntryUser) != 0) reachable[address] = entry;
  }

  ASSERT_EQ(reachable.size(), kVcpus);
  for (uint32_t vcpu = 0; vcpu < kVcpus; ++vcpu) {
    const uint64_t page = Window::AddressOf(Window::BlockOffset(vcpu) + kBlockEntry);
    ASSERT_TRUE(reachable.contains(page)) << vcpu;
    EXPECT_EQ(reachable[page] & kEntryWritable, 0U) << vcpu;
  }
}

TEST_F(WindowTest, UsersPageIsInt3ButForTheEndOfASystemCall) {
  for (uint32_t vcpu = 0; vcpu < kVcpus; ++vcpu) {
    const auto page = window_.bytes().subspan(Window::BlockOffset(vcpu) + kBlockEntryUser, kPageSize);
    // mov $USER_CONTINUE_R11, %r11d; jmp *%rcx
    const uint8_t end[] = {0x41, 0xbb, 0x46, 0x02, 0x00, 0x00, 0xff, 0xe1};
    static_assert(sizeof(end) == USER_CONTINUE_END - USER_CONTINUE);
    for (uint64_t i = 0; i < kPageSize; ++i) {
      const bool of_end = i >= USER_CONTINUE && i < USER_CONTINUE_END;
      ASSERT_EQ(page[i], std::byte{of_end ? end[i - USER_CONTINUE] : uint8_t{0xcc}}) << vcpu << " " << i;
    }
  }
}

TEST_F(WindowTest, Ring0sPageIsOneForEachViewAndNobodyElses) {
  for (const uint64_t slot : {window_.kernel_view(), window_.cpu(0).user_view}) {
    const uint64_t entry = View(slot).at(kRing0Base);
    EXPECT_NE(entry & kEntryLarge, 0U);
    EXPECT_EQ(entry & kEntryUser, 0U);
  }
  EXPECT_NE(View(window_.kernel_view()).at(kRing0Base) & kEntryAddress,
            View(window_.cpu(0).user_view).at(kRing0Base) & kEntryAddress);
}

TEST_F(WindowTest, KernelCannotReachStubsAndDescriptorTables) {
  const auto view = View(window_.kernel_view());

  for (const uint64_t page : {kBlockStubs, kBlockGdt}) {
    EXPECT_FALSE(view.contains(Window::AddressOf(kBlockOffset + page))) << page;
  }
}

TEST_F(WindowTest, NoPageOfTheKernelsViewIsWritableAndExecutable) {
  for (const auto& [address, entry] : View(window_.kernel_view())) {
    if ((entry & kEntryUser) == 0) continue;
    EXPECT_TRUE((entry & kEntryWritable) == 0 || (entry & kEntryNoExecute) != 0) << std::hex << address;
  }
}

TEST_F(WindowTest, ViewsAgreeOnWhatStubsNeed) {
  // A stub changes from one view to the other between two instructions.
  for (uint32_t vcpu = 0; vcpu < kVcpus; ++vcpu) {
    for (const uint64_t page : {kBlockStubs, kBlockGdt}) {
      const auto kernel = window_.bytes().subspan(Window::BlockOffset(vcpu) + page, kPageSize);
      const auto user =
          window_.bytes().subspan(kUserRing0Offset + Window::BlockOffset(vcpu) + page, kPageSize);
      EXPECT_TRUE(std::ranges::equal(kernel, user)) << vcpu << " " << page;
      EXPECT_FALSE(std::ranges::all_of(user, [](std::byte byte) { return byte == std::byte{0}; }));
    }
  }
}

// What a stub's iretq takes once cr3 is loaded is not what the exception pushed.
TEST_F(WindowTest, ExceptionsOfEachViewHaveTheirOwnPage) {
  const auto kernel = View(window_.kernel_view());
  const auto address_of = [this](const Exceptions& page) {
    return Window::PhysicalOf(
        static_cast<uint64_t>(reinterpret_cast<const std::byte*>(&page) - window_.bytes().data()));
  };
  for (uint32_t vcpu = 0; vcpu < kVcpus; ++vcpu) {
    const uint64_t block = Window::BlockOffset(vcpu);
    const uint64_t ring0 = Window::Ring0AddressOf(block + kBlockExceptions) - kRing0Base;
    const uint64_t of_kernel = address_of(window_.exceptions(vcpu, false));
    const uint64_t of_user = address_of(window_.exceptions(vcpu, true));

    EXPECT_EQ((kernel.at(kRing0Base) & kEntryAddress) + ring0, of_kernel);
    EXPECT_EQ((View(window_.cpu(vcpu).user_view).at(kRing0Base) & kEntryAddress) + ring0, of_user);
    EXPECT_EQ(kernel.at(Window::AddressOf(block + kBlockExceptions)) & kEntryAddress, of_kernel);
    EXPECT_EQ(kernel.at(Window::AddressOf(block + kBlockUserExceptions)) & kEntryAddress, of_user);
  }
  EXPECT_EQ(window_.exceptions(0, false).breakpoint.rip, window_.header(0).enter);
  EXPECT_EQ(window_.exceptions(0, false).fault_lead.rip, window_.header(0).fault_user);
}

TEST_F(WindowTest, PageFaultsLeadElsewhereInEachView) {
  uint64_t kernel_gate;
  uint64_t user_gate;
  std::memcpy(&kernel_gate, window_.bytes().data() + kBlockOffset + kBlockIdt + 14 * 16, 8);
  std::memcpy(&user_gate, window_.bytes().data() + kUserRing0Offset + kBlockOffset + kBlockIdt + 14 * 16, 8);

  EXPECT_EQ(kernel_gate & 0xffff, window_.header(0).stub_fault_kernel & 0xffff);
  EXPECT_EQ(user_gate & 0xffff, window_.header(0).stub_fault_user & 0xffff);
}

// The CPU would otherwise do it in the guest's roots, which the monitor tells by their entries.
TEST_F(WindowTest, NothingIsLeftForTheCpuToMark) {
  EXPECT_EQ(window_.kernel_view() & kEntryAccessedDirty, kEntryAccessedDirty);
  EXPECT_EQ(window_.kernel_direct_map() & kEntryAccessedDirty, kEntryAccessedDirty);
  EXPECT_EQ(window_.cpu(0).user_view & kEntryAccessedDirty, kEntryAccessedDirty);
  for (const auto& [address, entry] : View(window_.kernel_view())) {
    EXPECT_EQ(entry & kEntryAccessedDirty, kEntryAccessedDirty) << std::hex << address;
  }
}

TEST_F(WindowTest, BlockOfEachVcpuNamesItsOwnAddresses) {
  const uint64_t stride = Window::BlockOffset(1) - Window::BlockOffset(0);

  EXPECT_EQ(window_.header(1).entry_start, window_.header(0).entry_start + stride);
  EXPECT_EQ(window_.header(1).stub_exits, window_.header(0).stub_exits + stride);
  EXPECT_EQ(window_.header(0).stub_exits & ~(kRing0Bytes - 1), kRing0Base);
  EXPECT_EQ(window_.header(1).call_vmm, window_.header(0).call_vmm);  // common text
  EXPECT_EQ(window_.cpu(1).breakpoint_gate, window_.cpu(0).breakpoint_gate + stride);
  EXPECT_EQ(window_.exceptions(1, false).breakpoint.rip,
            window_.exceptions(0, false).breakpoint.rip + stride);
}

// As a template's machine goes on with more memory, and one vCPU of two.
TEST(WindowOfGrownGuestTest, DirectMapAndMonitorReachWhatWasAddedAndNoMore) {
  constexpr uint64_t kAdded = 6 << 20;
  constexpr uint64_t kRegion = 1 << 30;
  const GuestMemory before = *GuestMemory::Create(64 << 20, {.bytes = 0, .region_bytes = kRegion});
  const GuestMemory after = *GuestMemory::Create(64 << 20, {.bytes = kAdded, .region_bytes = kRegion});
  const Window saved = *Window::Create(before, 2);
  const Window grown = *Window::CreateUnfilled(after, 1);
  ASSERT_EQ(grown.bytes().size(), saved.bytes().size());
  std::ranges::copy(saved.bytes(), grown.bytes().begin());

  grown.Adapt(after);

  EXPECT_EQ(grown.cpu(0).vcpus, 1u);
  EXPECT_EQ(grown.cpu(0).frames, (kHighRamStart + kAdded) / kPageSize);
  EXPECT_EQ(grown.page_types_offset(), saved.page_types_offset());
  uint64_t high_pages = 0;
  for (const auto& [address, entry] : LeavesBelow(grown, grown.kernel_direct_map(), 3, kDirectMapBase)) {
    if (address < kDirectMapBase + kHighRamStart) continue;
    EXPECT_EQ(entry & kEntryAddress, address - kDirectMapBase);
    ++high_pages;
  }
  EXPECT_EQ(high_pages, kAdded >> 21);
}

}  // namespace
}  // namespace hmvm::ring3
