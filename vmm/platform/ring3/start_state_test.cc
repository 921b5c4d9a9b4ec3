#include "vmm/platform/ring3/start_state.h"

#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kRoot = 0x3000;
constexpr uint64_t kNotCanonical = 0x8000'0000'0000'0000;

class StartStateTest : public ::testing::Test {
 protected:
  StartStateTest() : memory_(*GuestMemory::Create(4 << 20)), window_(*Window::Create(memory_, 2)) {
    static_cast<void>(memory_.Write(GuestAddress{kRoot + 8 * kMonitorSlot}, window_.kernel_view()));
    static_cast<void>(memory_.Write(GuestAddress{kRoot + 8 * kDirectMapSlot}, window_.kernel_direct_map()));
    std::memset(context_.get(), 0, sizeof(VcpuContext));
    context_->registers.rip = 0xffffffff81000000;
    context_->registers.rsp = 0xffffffff82000000;
    context_->control[3] = kRoot;
  }
  std::optional<StartState> State() const { return StartStateOf(*context_, memory_, window_); }

  GuestMemory memory_;
  Window window_;
  std::unique_ptr<VcpuContext> context_ = std::make_unique<VcpuContext>();
};

TEST_F(StartStateTest, TakesWhatTheGuestGives) {
  context_->registers.r15 = 15;
  context_->gs_base_kernel = 0xffff888000001000;
  context_->traps[14] = {14, kTrapMasksEvents, 0, 0, 0xffffffff81234567};

  const auto state = State();

  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->root, kRoot);
  EXPECT_EQ(state->registers.rip, 0xffffffff81000000U);
  EXPECT_EQ(state->registers.r15, 15U);
  EXPECT_EQ(state->kernel_gs, 0xffff888000001000U);
  EXPECT_EQ(state->page_fault_entry, 0xffffffff81234567U);
  EXPECT_EQ(state->traps[14].masks_events, kTrapMasksEvents);
}

TEST_F(StartStateTest, FlagsAreThoseAProgramMayHave) {
  context_->registers.rflags = ~uint64_t{0};

  const uint64_t flags = State()->registers.rflags;

  EXPECT_EQ(flags & 0x3000, 0U);   // IOPL
  EXPECT_EQ(flags & 0x20000, 0U);  // VM
  EXPECT_EQ(flags & 0x4000, 0U);   // NT
  EXPECT_EQ(flags & 0x202, 0x202U);
}

TEST_F(StartStateTest, AddressesThatAreNotCanonicalAreRefused) {
  for (uint64_t* const field : {&context_->registers.rip, &context_->registers.rsp, &context_->kernel_sp,
                                &context_->event_callback, &context_->syscall_callback, &context_->fs_base,
                                &context_->gs_base_kernel, &context_->gs_base_user}) {
    const uint64_t before = *field;
    *field = kNotCanonical;
    EXPECT_FALSE(State().has_value());
    *field = before;
  }
}

TEST_F(StartStateTest, RootOutsideRamOrWithoutTheMonitorIsRefused) {
  for (const uint64_t root : {uint64_t{0x4000}, uint64_t{kRoot + 8}, uint64_t{4 << 20}, kPlatformWindowStart,
                              ~uint64_t{0}, ~uint64_t{0xfff}}) {
    context_->control[3] = root;
    EXPECT_FALSE(State().has_value()) << std::hex << root;
  }
}

}  // namespace
}  // namespace hmvm::ring3
