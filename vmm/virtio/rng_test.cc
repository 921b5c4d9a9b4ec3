#include "vmm/virtio/rng.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

class RngTest : public ::testing::Test {
 protected:
  RngTest() { EXPECT_TRUE(machine_.Activate(rng_, kCommonFeatures).has_value()); }

  GuestAddress Ask(uint32_t bytes) {
    const FakeQueue::Buffer buffer{machine_.heap.Allocate(bytes), bytes, true};
    machine_.queues[0].Add(std::span(&buffer, 1));
    return buffer.address;
  }

  FakeMachine machine_;
  Rng rng_;
};

TEST_F(RngTest, FillsBuffersWithDifferentBytes) {
  const GuestAddress first = Ask(64);
  const GuestAddress second = Ask(64);

  EXPECT_FALSE(rng_.OnQueueNotify(0));

  EXPECT_EQ(machine_.queues[0].TakeUsed()->len, 64u);
  EXPECT_EQ(machine_.queues[0].TakeUsed()->len, 64u);
  EXPECT_NE(machine_.Text(first, 64), machine_.Text(second, 64));
  EXPECT_NE(machine_.Text(first, 64), std::string(64, '\0'));
  EXPECT_EQ(machine_.interrupt.used, 1);  // for the batch
}

TEST_F(RngTest, HugeRequestIsCutShort) {
  Ask(1 << 20);

  rng_.OnQueueNotify(0);

  EXPECT_EQ(machine_.queues[0].TakeUsed()->len, 64u << 10);
}

TEST_F(RngTest, RequestThatCanNotBeWrittenGetsNothing) {
  const FakeQueue::Buffer buffer{machine_.heap.Allocate(16), 16, false};
  machine_.queues[0].Add(std::span(&buffer, 1));

  rng_.OnQueueNotify(0);

  EXPECT_EQ(machine_.queues[0].TakeUsed()->len, 0u);
}

TEST_F(RngTest, BrokenRingNeedsAReset) {
  machine_.queues[0].SetAvailableIndex(1000);

  rng_.OnQueueNotify(0);

  EXPECT_EQ(machine_.interrupt.needs_reset.size(), 1u);
}

TEST_F(RngTest, DisabledQueueHasNothingToDo) {
  machine_.ActivateDisabled(rng_);

  EXPECT_FALSE(rng_.OnQueueNotify(0));
}

TEST_F(RngTest, SecondActivationIsRefused) { EXPECT_EQ(rng_.Activate({}).error().code, EBUSY); }

TEST_F(RngTest, NotifyAfterResetIsHarmless) {
  Ask(64);
  rng_.Reset();

  EXPECT_FALSE(rng_.OnQueueNotify(0));

  EXPECT_FALSE(machine_.queues[0].TakeUsed().has_value());
}

}  // namespace
}  // namespace hmvm
