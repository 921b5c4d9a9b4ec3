// KVM's log and the engine above it, with a guest that writes to known pages.
#include "vmm/kvm/write_log.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kPages = 256;  // what real mode reaches
constexpr uint64_t kList = 0x500;
constexpr uint64_t kCode = 0x1000;

// Real mode: adds 1 to the first byte of each segment in the list at kList, halts at the 0 behind it.
constexpr uint8_t kProgram[] = {
    0xbe, 0x00, 0x05,              // mov $kList, %si
    0xad,                          // next: lods (%si), %ax
    0x85, 0xc0,                    // test %ax, %ax
    0x74, 0x09,                    // jz end
    0x8e, 0xc0,                    // mov %ax, %es
    0x26, 0xfe, 0x06, 0x00, 0x00,  // incb %es:0
    0xeb, 0xf2,                    // jmp next
    0xf4,                          // end: hlt
};

class WriteLogKvmTest : public testing::Test {
 protected:
  void SetUp() override {
    auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    vm_.emplace(kvm->CreateVm().value());
    const GuestMemory::Region& ram = memory_.regions()[0];
    ASSERT_TRUE(vm_->SetMemory(0, 0, ram.host).has_value());
    vcpu_.emplace(vm_->CreateVcpu(0).value());
    std::memcpy(ram.host.data() + kCode, kProgram, sizeof(kProgram));
    dirty_.emplace(&memory_, std::vector<MemoryArea>{ram},
                   std::make_unique<KvmWriteLog>(&*vm_, std::vector<KvmWriteLog::Slot>{{0, ram}}),
                   [](OwnWrites&) {});
  }

  // Lets the guest write to `pages`.
  void Run(std::span<const uint16_t> pages) {
    std::vector<uint16_t> list;
    for (const uint16_t page : pages) list.push_back(static_cast<uint16_t>(page * kPageBytes / 16));
    list.push_back(0);
    std::memcpy(memory_.regions()[0].host.data() + kList, list.data(),
                list.size() * 2);  // unseen by the engine
    kvm_sregs sregs = vcpu_->Sregs().value();
    sregs.cs.base = sregs.cs.selector = 0;
    ASSERT_TRUE(vcpu_->SetSregs(sregs).has_value());
    kvm_regs regs = {};
    regs.rip = kCode;
    regs.rflags = 2;
    ASSERT_TRUE(vcpu_->SetRegs(regs).has_value());
    while (!vcpu_->Run().value()) {
    }
    ASSERT_EQ(vcpu_->run().exit_reason, static_cast<uint32_t>(KVM_EXIT_HLT));
  }
  void Run(std::initializer_list<uint16_t> pages) { Run(std::span(pages.begin(), pages.size())); }

  PageRuns Collect() {
    PageBitmap pages(kPages);
    const auto collected = dirty_->CollectInto(pages);
    EXPECT_TRUE(collected.has_value()) << collected.error().Message();
    return pages.Runs();
  }

  GuestMemory memory_ = GuestMemory::Create(kPages * kPageBytes).value();
  std::optional<Vm> vm_;
  std::optional<Vcpu> vcpu_;
  std::optional<DirtyPages> dirty_;
};

TEST_F(WriteLogKvmTest, GuestsWritesAreToldOnceAndAgainWhenRepeated) {
  Run({16, 17, 200});
  ASSERT_TRUE(dirty_->Start().has_value());

  Run({17, 18, 255});
  const PageRuns first = Collect();
  const PageRuns nothing = Collect();
  Run({17});
  const PageRuns second = Collect();

  EXPECT_THAT(first.runs(), ElementsAre(PageRun{17, 2}, PageRun{255, 1}));
  EXPECT_THAT(nothing.runs(), IsEmpty());
  EXPECT_THAT(second.runs(), ElementsAre(PageRun{17, 1}));
}

TEST_F(WriteLogKvmTest, TheVmmsWritesAreToldWithTheGuests) {
  ASSERT_TRUE(dirty_->Start().has_value());

  Run({40});
  ASSERT_TRUE(memory_.Write<uint8_t>(GuestAddress{41 * kPageBytes}, 1).has_value());

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{40, 2}));
}

TEST_F(WriteLogKvmTest, TrackingCanStopAndStartAgain) {
  ASSERT_TRUE(dirty_->Start().has_value());
  Run({40});
  ASSERT_TRUE(dirty_->Stop().has_value());
  Run({41});
  ASSERT_TRUE(dirty_->Start().has_value());

  Run({42});

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{42, 1}));
}

// Pages that the guest has by a private mapping of a file, as after a restore: its first write copies them.
TEST_F(WriteLogKvmTest, PagesOfAPrivateMappingAreToldToo) {
  std::span<std::byte> part = memory_.regions()[0].host.subspan(64 * kPageBytes, 8 * kPageBytes);
  const int file = ::memfd_create("pages", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(part.size())), 0);
  ASSERT_NE(::mmap(part.data(), part.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0),
            MAP_FAILED);
  ::close(file);
  ASSERT_TRUE(dirty_->Start().has_value());

  Run({65, 70});

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{65, 1}, PageRun{70, 1}));
}

}  // namespace
}  // namespace hmvm
