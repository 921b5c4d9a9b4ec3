#include "vmm/virtio/queue.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/memory/write_marks.h"
#include "vmm/virtio/io_vectors.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kSize = 8;
constexpr uint64_t kMemoryBytes = 1 << 20;

class QueueTest : public ::testing::Test {
 protected:
  explicit QueueTest(uint64_t features = kQueueFeatures)
      : driver_(heap_, kSize, features), queue_(driver_.MakeDeviceQueue()) {}

  // Makes descriptor 0 available and tells what Pop says of it.
  std::string Refusal() {
    driver_.MakeAvailable(0);
    const auto popped = queue_.Pop(chain_);
    return popped.has_value() ? "accepted" : popped.error().what;
  }

  GuestMemory memory_ = *GuestMemory::Create(kMemoryBytes);
  FakeHeap heap_{memory_};
  FakeQueue driver_;
  Queue queue_;
  DescriptorChain chain_;
};

class QueueWithoutFeaturesTest : public QueueTest {
 protected:
  QueueWithoutFeaturesTest() : QueueTest(0) {}
};

constexpr vring_desc kPlain = {.addr = 0x8000, .len = 16, .flags = 0, .next = 0};

TEST_F(QueueTest, EmptyRingGivesNothing) {
  const auto popped = queue_.Pop(chain_);

  ASSERT_TRUE(popped.has_value());
  EXPECT_FALSE(*popped);
}

TEST_F(QueueTest, ChainKeepsOrderAndDirection) {
  const std::array<FakeQueue::Buffer, 3> buffers = {{{GuestAddress{0x8000}, 16, false},
                                                     {GuestAddress{0x9000}, 32, false},
                                                     {GuestAddress{0xa000}, 64, true}}};
  const uint16_t head = driver_.Add(buffers);

  ASSERT_TRUE(*queue_.Pop(chain_));

  EXPECT_EQ(chain_.head(), head);
  EXPECT_EQ(chain_.readable_bytes(), 48u);
  EXPECT_EQ(chain_.writable_bytes(), 64u);
  ASSERT_EQ(chain_.readable().size(), 2u);
  ASSERT_EQ(chain_.writable().size(), 1u);
  EXPECT_EQ(chain_.readable()[1].iov_base, memory_.Slice(GuestAddress{0x9000}, 1)->data());
  EXPECT_EQ(chain_.writable()[0].iov_len, 64u);
}

TEST_F(QueueTest, IndirectTableIsWalked) {
  std::vector<FakeQueue::Buffer> buffers(40, {GuestAddress{0x8000}, 16, false});
  buffers.push_back({GuestAddress{0x9000}, 1, true});
  driver_.Add(buffers, /*indirect=*/true);

  ASSERT_TRUE(*queue_.Pop(chain_));

  EXPECT_EQ(chain_.readable().size(), 40u);
  EXPECT_EQ(chain_.writable_bytes(), 1u);
}

TEST_F(QueueTest, DescriptorsInFrontOfAnIndirectOneCount) {
  const vring_desc inner = {.addr = 0x9000, .len = 8, .flags = VRING_DESC_F_WRITE, .next = 0};
  const GuestAddress table = heap_.Allocate(sizeof(inner));
  ASSERT_TRUE(memory_.Write(table, inner).has_value());
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 5});
  driver_.WriteDescriptor(5, {.addr = table.value, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_EQ(Refusal(), "accepted");

  EXPECT_EQ(chain_.readable_bytes(), 16u);
  EXPECT_EQ(chain_.writable_bytes(), 8u);
}

TEST_F(QueueTest, IndexesRunThroughTheirWrap) {
  const std::array<FakeQueue::Buffer, 1> buffer = {{{GuestAddress{0x8000}, 16, true}}};
  for (uint32_t i = 0; i < 70000; ++i) {
    const uint16_t head = driver_.Add(buffer);
    ASSERT_TRUE(*queue_.Pop(chain_));
    queue_.PushUsed(chain_.head(), i);
    const auto used = driver_.TakeUsed();
    ASSERT_TRUE(used.has_value());
    ASSERT_EQ(used->id, head);
    ASSERT_EQ(used->len, i);
  }
}

TEST_F(QueueTest, FullRingComesOutWhole) {
  for (uint16_t i = 0; i < kSize; ++i) {
    driver_.WriteDescriptor(i, kPlain);
    driver_.MakeAvailable(i);
  }

  for (uint16_t i = 0; i < kSize; ++i) {
    ASSERT_TRUE(*queue_.Pop(chain_));
    EXPECT_EQ(chain_.head(), i);
  }
  EXPECT_FALSE(*queue_.Pop(chain_));
}

// Refusals: one test for each thing a driver can do wrong.

TEST_F(QueueTest, AvailableIndexBeyondTheQueueIsRefused) {
  driver_.SetAvailableIndex(kSize + 1);

  const auto popped = queue_.Pop(chain_);

  ASSERT_FALSE(popped.has_value());
  EXPECT_THAT(popped.error().what, HasSubstr("available index ahead by 9"));
}

TEST_F(QueueTest, AvailableIndexThatGoesBackIsRefused) {
  driver_.SetAvailableIndex(UINT16_MAX);

  EXPECT_FALSE(queue_.Pop(chain_).has_value());
}

TEST_F(QueueTest, HeadBeyondTheTableIsRefused) {
  driver_.MakeAvailable(kSize);

  EXPECT_FALSE(queue_.Pop(chain_).has_value());
}

TEST_F(QueueTest, NextBeyondTheTableIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = kSize});

  EXPECT_THAT(Refusal(), HasSubstr("descriptor index 8"));
}

TEST_F(QueueTest, CircleIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1});
  driver_.WriteDescriptor(1, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("circle"));
}

TEST_F(QueueTest, CircleInAnIndirectTableIsRefused) {
  const vring_desc self = {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 0};
  const GuestAddress table = heap_.Allocate(sizeof(self));
  ASSERT_TRUE(memory_.Write(table, self).has_value());
  driver_.WriteDescriptor(0, {.addr = table.value, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("circle"));
}

TEST_F(QueueTest, BufferOfNoBytesIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 0, .flags = 0, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("0 bytes"));
}

TEST_F(QueueTest, BufferBeyondRamIsRefused) {
  driver_.WriteDescriptor(0, {.addr = kMemoryBytes - 8, .len = 9, .flags = 0, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("outside RAM"));
}

TEST_F(QueueTest, BufferWhoseEndWrapsIsRefused) {
  driver_.WriteDescriptor(0, {.addr = UINT64_MAX - 8, .len = 16, .flags = 0, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("outside RAM"));
}

TEST_F(QueueTest, BufferOfFourGigabytesIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0, .len = UINT32_MAX, .flags = 0, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("outside RAM"));
}

TEST_F(QueueTest, ReadableBehindWritableIsRefused) {
  driver_.WriteDescriptor(
      0, {.addr = 0x8000, .len = 1, .flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, .next = 1});
  driver_.WriteDescriptor(1, kPlain);

  EXPECT_THAT(Refusal(), HasSubstr("readable buffer behind a writable"));
}

TEST_F(QueueTest, IndirectInsideIndirectIsRefused) {
  const vring_desc inner = {.addr = 0x9000, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0};
  const GuestAddress table = heap_.Allocate(sizeof(inner));
  ASSERT_TRUE(memory_.Write(table, inner).has_value());
  driver_.WriteDescriptor(0, {.addr = table.value, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("indirect descriptor in an indirect table"));
}

TEST_F(QueueTest, IndirectWithNextIsRefused) {
  driver_.WriteDescriptor(
      0, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, .next = 1});

  EXPECT_THAT(Refusal(), HasSubstr("with a next one"));
}

TEST_F(QueueTest, IndirectTableOfOddLengthIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 17, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("indirect table of 17 bytes"));
}

TEST_F(QueueTest, EmptyIndirectTableIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 0, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("indirect table of 0 bytes"));
}

TEST_F(QueueTest, HugeIndirectTableIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0, .len = 0xfffffff0, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("indirect table of 4294967280 bytes"));
}

TEST_F(QueueTest, IndirectTableOutsideRamIsRefused) {
  driver_.WriteDescriptor(0, {.addr = kMemoryBytes, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("indirect table outside RAM"));
}

TEST_F(QueueTest, MoreBuffersThanAnyQueueHasAreRefused) {
  std::vector<FakeQueue::Buffer> buffers(kMaxQueueSize, {GuestAddress{0x8000}, 1, false});
  driver_.Add(buffers, /*indirect=*/true);
  ASSERT_TRUE(*queue_.Pop(chain_));  // the most there may be
  // The same table with one descriptor in front of it.
  const vring_desc indirect = *memory_.Read<vring_desc>(driver_.state().descriptors);
  driver_.WriteDescriptor(1, {.addr = 0x8000, .len = 1, .flags = VRING_DESC_F_NEXT, .next = 2});
  driver_.WriteDescriptor(2, indirect);
  driver_.MakeAvailable(1);

  EXPECT_FALSE(queue_.Pop(chain_).has_value());
}

TEST_F(QueueTest, ChainOfFourGigabytesIsRefused) {
  const GuestMemory large = *GuestMemory::Create(8 << 20);
  FakeHeap heap(large);
  FakeQueue driver(heap, kSize, kQueueFeatures);
  Queue queue = driver.MakeDeviceQueue();
  const std::vector<FakeQueue::Buffer> half(512, {GuestAddress{0}, 8 << 20, false});  // exactly 4 GiB
  driver.Add(half, /*indirect=*/true);

  const auto popped = queue.Pop(chain_);

  ASSERT_FALSE(popped.has_value());
  EXPECT_THAT(popped.error().what, HasSubstr("4 GiB"));
}

TEST_F(QueueTest, BrokenQueueStaysSilent) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 0, .flags = 0, .next = 0});
  ASSERT_NE(Refusal(), "accepted");
  driver_.WriteDescriptor(1, kPlain);
  driver_.MakeAvailable(1);

  const auto popped = queue_.Pop(chain_);
  queue_.PushUsed(0, 0);

  ASSERT_TRUE(popped.has_value());
  EXPECT_FALSE(*popped);
  EXPECT_EQ(driver_.UsedIndex(), 0);
}

TEST_F(QueueWithoutFeaturesTest, IndirectDescriptorIsRefused) {
  driver_.WriteDescriptor(0, {.addr = 0x8000, .len = 16, .flags = VRING_DESC_F_INDIRECT, .next = 0});

  EXPECT_THAT(Refusal(), HasSubstr("without the feature"));
}

// Notifications and signals.

TEST_F(QueueTest, EmptyPopAsksForTheNextNotification) {
  driver_.WriteDescriptor(0, kPlain);
  driver_.MakeAvailable(0);
  ASSERT_TRUE(*queue_.Pop(chain_));
  EXPECT_EQ(driver_.AvailableEvent(), 0);  // behind: the driver need not notify while we work

  ASSERT_FALSE(*queue_.Pop(chain_));

  EXPECT_EQ(driver_.AvailableEvent(), 1);
}

TEST_F(QueueWithoutFeaturesTest, NotificationsAreOffWhileWorking) {
  driver_.WriteDescriptor(0, kPlain);
  driver_.MakeAvailable(0);
  ASSERT_TRUE(*queue_.Pop(chain_));
  EXPECT_EQ(driver_.UsedFlags(), VRING_USED_F_NO_NOTIFY);

  ASSERT_FALSE(*queue_.Pop(chain_));

  EXPECT_EQ(driver_.UsedFlags(), 0);
}

TEST_F(QueueTest, SignalComesWhenTheBatchPassesTheUsedEvent) {
  driver_.SetUsedEvent(1);  // "tell me when the second is used"
  queue_.PushUsed(0, 0);
  EXPECT_FALSE(queue_.ShouldSignal());
  queue_.PushUsed(1, 0);
  queue_.PushUsed(2, 0);

  EXPECT_TRUE(queue_.ShouldSignal());
  EXPECT_FALSE(queue_.ShouldSignal());  // nothing since
}

TEST_F(QueueWithoutFeaturesTest, FlagOfTheDriverTurnsSignalsOff) {
  queue_.PushUsed(0, 0);
  EXPECT_TRUE(queue_.ShouldSignal());
  driver_.SetAvailableFlags(VRING_AVAIL_F_NO_INTERRUPT);
  queue_.PushUsed(1, 0);

  EXPECT_FALSE(queue_.ShouldSignal());
}

// Creation.

TEST_F(QueueTest, DisabledQueueGivesNothing) {
  Queue queue = *Queue::Create(memory_, QueueState{}, kQueueFeatures);

  EXPECT_FALSE(queue.ready());
  EXPECT_FALSE(*queue.Pop(chain_));
  EXPECT_FALSE(queue.ShouldSignal());
}

struct BadState {
  const char* name;
  void (*spoil)(QueueState& state);
};
class QueueCreateTest : public ::testing::TestWithParam<BadState> {};

TEST_P(QueueCreateTest, IsRefused) {
  const GuestMemory memory = *GuestMemory::Create(kMemoryBytes);
  FakeHeap heap(memory);
  QueueState state = FakeQueue(heap, kSize, 0).state();
  GetParam().spoil(state);

  EXPECT_FALSE(Queue::Create(memory, state, 0).has_value());
}

INSTANTIATE_TEST_SUITE_P(
    BadStates, QueueCreateTest,
    ::testing::Values(
        BadState{"SizeZero", [](QueueState& state) { state.size = 0; }},
        BadState{"SizeNoPowerOfTwo", [](QueueState& state) { state.size = 12; }},
        BadState{"SizeTooLarge", [](QueueState& state) { state.size = 2048; }},
        BadState{"DescriptorsUnaligned", [](QueueState& state) { state.descriptors.value += 8; }},
        BadState{"AvailableUnaligned", [](QueueState& state) { state.available.value += 1; }},
        BadState{"UsedUnaligned", [](QueueState& state) { state.used.value += 2; }},
        BadState{"DescriptorsOutside",
                 [](QueueState& state) { state.descriptors.value = kMemoryBytes - 16; }},
        BadState{"AvailableOutside", [](QueueState& state) { state.available.value = kMemoryBytes - 4; }},
        BadState{"UsedOutside", [](QueueState& state) { state.used.value = UINT64_MAX - 3; }}),
    [](const auto& info) { return info.param.name; });

// What the engine of changed pages learns of the device's writes.
class QueueWritesTest : public QueueTest {
 protected:
  QueueWritesTest() { EXPECT_TRUE(memory_.write_marks().TurnOn().has_value()); }

  bool Written(GuestAddress address) {
    memory_.write_marks().CollectInto(written_, kMemoryBytes / kPageBytes, 0);
    return written_.Has(address.value / kPageBytes);
  }

  PageBitmap written_{kMemoryBytes / kPageBytes};
};

TEST_F(QueueWritesTest, BuffersCountAsWrittenWhenTheyGoBackAndNotBefore) {
  const std::array<FakeQueue::Buffer, 3> buffers = {
      {{GuestAddress{0x8000}, 16, false}, {GuestAddress{0x9ff0}, 32, true}, {GuestAddress{0xc000}, 1, true}}};
  driver_.Add(buffers);
  ASSERT_TRUE(*queue_.Pop(chain_));
  TrimFront(chain_.writable(), 33);  // as a device does while it fills them
  ASSERT_FALSE(Written(GuestAddress{0x9000}));

  queue_.PushUsed(chain_.head(), 33);

  EXPECT_FALSE(Written(GuestAddress{0x8000}));
  EXPECT_TRUE(Written(GuestAddress{0x9000}));
  EXPECT_TRUE(Written(GuestAddress{0xa000}));
  EXPECT_TRUE(Written(GuestAddress{0xc000}));
  EXPECT_TRUE(Written(driver_.state().used));
}

TEST_F(QueueWritesTest, BuffersOfAQueueThatIsDroppedCountToo) {
  const std::array<FakeQueue::Buffer, 1> buffers = {{{GuestAddress{0x9000}, 32, true}}};
  driver_.Add(buffers);
  ASSERT_TRUE(*queue_.Pop(chain_));

  queue_ = Queue();

  EXPECT_TRUE(Written(GuestAddress{0x9000}));
}

TEST_F(QueueWritesTest, MovedQueueKeepsItsBuffers) {
  const std::array<FakeQueue::Buffer, 1> buffers = {{{GuestAddress{0x9000}, 32, true}}};
  driver_.Add(buffers);
  ASSERT_TRUE(*queue_.Pop(chain_));
  Queue moved = std::move(queue_);
  ASSERT_FALSE(Written(GuestAddress{0x9000}));

  moved.PushUsed(chain_.head(), 32);

  EXPECT_TRUE(Written(GuestAddress{0x9000}));
}

TEST(IoVectorsTest, TrimAndKeepCutInsideABuffer) {
  std::array<std::byte, 8> bytes;
  std::array<iovec, 3> vectors = {{{&bytes[0], 2}, {&bytes[2], 4}, {&bytes[6], 2}}};

  const auto middle = KeepFront(TrimFront(vectors, 3), 4);

  ASSERT_EQ(middle.size(), 2u);
  EXPECT_EQ(middle[0].iov_base, &bytes[3]);
  EXPECT_EQ(middle[0].iov_len, 3u);
  EXPECT_EQ(middle[1].iov_len, 1u);
  EXPECT_EQ(TotalBytes(middle), 4u);
}

}  // namespace
}  // namespace hmvm
