#include "vmm/virtio/mmio_transport.h"

#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>

#include <atomic>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr uint32_t kAcknowledge = VIRTIO_CONFIG_S_ACKNOWLEDGE;
constexpr uint32_t kDriver = kAcknowledge | VIRTIO_CONFIG_S_DRIVER;
constexpr uint32_t kFeaturesOk = kDriver | VIRTIO_CONFIG_S_FEATURES_OK;
constexpr uint32_t kDriverOk = kFeaturesOk | VIRTIO_CONFIG_S_DRIVER_OK;

class CountingLine : public InterruptLine {
 public:
  explicit CountingLine(std::atomic<int>* count) : count_(count) {}
  void Trigger() override { ++*count_; }

 private:
  std::atomic<int>* count_;
};

// Answers each chain with its own length, and notes what the transport does to it.
class EchoDevice : public VirtioDevice {
 public:
  std::string_view Name() const override { return "echo"; }
  uint32_t DeviceId() const override { return 42; }
  uint64_t OfferedFeatures() const override { return kCommonFeatures | 1; }
  std::span<const uint16_t> QueueSizes() const override { return kSizes; }
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override {
    ReadConfigFrom(config, offset, bytes);
  }
  void WriteConfig(uint64_t offset, std::span<const std::byte> bytes) override {
    written_config = {offset, bytes.size()};
  }
  Result<> Activate(Activation given) override {
    if (fail_activation) return Error{0, "no"};
    active = std::move(given);
    return {};
  }
  void Reset() override {
    active.reset();
    ++resets;
  }
  bool OnQueueNotify(uint16_t queue) override {
    ++notified[queue];
    if (!active) return false;
    const auto popped = active->queues[queue].Pop(chain_);
    if (!popped.has_value()) {
      active->interrupt->SetNeedsReset(popped.error());
      return false;
    }
    if (!*popped) return false;
    active->queues[queue].PushUsed(chain_.head(), static_cast<uint32_t>(chain_.readable_bytes()));
    if (active->queues[queue].ShouldSignal()) active->interrupt->SignalUsed();
    return true;  // one at a time
  }
  std::vector<QueueState> QueueStates() const override { return StatesOf(active); }
  CounterList Counters() const override { return {{"requests", 7}}; }

  static constexpr uint16_t kSizes[] = {8, 16};
  uint64_t config = 0x1122334455667788;
  std::pair<uint64_t, size_t> written_config;
  bool fail_activation = false;
  std::optional<Activation> active;
  int resets = 0;
  int notified[2] = {0, 0};

 private:
  DescriptorChain chain_;
};

class MmioTransportTest : public ::testing::Test {
 protected:
  MmioTransportTest() {
    auto device = std::make_unique<EchoDevice>();
    device_ = device.get();
    transport_ = *MmioTransport::Create(std::move(device), memory_,
                                        std::make_unique<CountingLine>(&interrupts_), *loop_);
  }

  uint32_t Read(uint64_t offset) {
    uint32_t value = 0xabababab;
    transport_->Read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void Write(uint64_t offset, uint32_t value) {
    transport_->Write(offset, std::as_bytes(std::span(&value, 1)));
  }

  void WriteFeatures(uint64_t features) {
    Write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    Write(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<uint32_t>(features));
    Write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    Write(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<uint32_t>(features >> 32));
  }
  uint32_t NegotiateTo(uint32_t status, uint64_t features = kCommonFeatures) {
    Write(VIRTIO_MMIO_STATUS, kAcknowledge);
    Write(VIRTIO_MMIO_STATUS, kDriver);
    WriteFeatures(features);
    Write(VIRTIO_MMIO_STATUS, status);
    return Read(VIRTIO_MMIO_STATUS);
  }
  void WriteQueue(uint32_t index, const QueueState& state) {
    Write(VIRTIO_MMIO_QUEUE_SEL, index);
    Write(VIRTIO_MMIO_QUEUE_NUM, state.size);
    const std::pair<uint64_t, uint64_t> addresses[] = {{VIRTIO_MMIO_QUEUE_DESC_LOW, state.descriptors.value},
                                                       {VIRTIO_MMIO_QUEUE_AVAIL_LOW, state.available.value},
                                                       {VIRTIO_MMIO_QUEUE_USED_LOW, state.used.value}};
    for (const auto& [offset, address] : addresses) {
      Write(offset, static_cast<uint32_t>(address));
      Write(offset + 4, static_cast<uint32_t>(address >> 32));
    }
    Write(VIRTIO_MMIO_QUEUE_READY, 1);
  }
  void Start() {
    ASSERT_EQ(NegotiateTo(kFeaturesOk), kFeaturesOk);
    WriteQueue(0, driver_.state());
    Write(VIRTIO_MMIO_STATUS, kDriverOk);
    ASSERT_EQ(Read(VIRTIO_MMIO_STATUS), kDriverOk);
  }
  void AddRequest(uint32_t bytes = 16) {
    const FakeQueue::Buffer buffer{GuestAddress{0x80000}, bytes, false};
    driver_.Add(std::span(&buffer, 1));
  }
  // Lets the loop handle the events that are there, and those that follow from them.
  void RunLoop(int rounds = 2) {
    std::function<void()> next = [&] {
      if (rounds-- == 0) {
        loop_->Stop();
      } else {
        loop_->Post(next);
      }
    };
    loop_->Post(next);
    ASSERT_TRUE(loop_->Run().has_value());
  }
  uint64_t Counter(const std::string& name) {
    for (const auto& [counter, value] : transport_->Counters()) {
      if (counter == name) return value;
    }
    return UINT64_MAX;
  }

  GuestMemory memory_ = *GuestMemory::Create(1 << 20);
  FakeHeap heap_{memory_};
  FakeQueue driver_{heap_, 8, kCommonFeatures};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::atomic<int> interrupts_ = 0;
  std::unique_ptr<MmioTransport> transport_;
  EchoDevice* device_;
};

TEST_F(MmioTransportTest, IdentityIsAsTheSpecificationSays) {
  EXPECT_EQ(Read(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976u);
  EXPECT_EQ(Read(VIRTIO_MMIO_VERSION), 2u);
  EXPECT_EQ(Read(VIRTIO_MMIO_DEVICE_ID), 42u);
  EXPECT_EQ(Read(VIRTIO_MMIO_SHM_LEN_LOW), ~0u);
}

TEST_F(MmioTransportTest, FeaturesAreOfferedInHalves) {
  Write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
  EXPECT_EQ(Read(VIRTIO_MMIO_DEVICE_FEATURES), static_cast<uint32_t>(kQueueFeatures | 1));
  Write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
  EXPECT_EQ(Read(VIRTIO_MMIO_DEVICE_FEATURES), 1u);
  Write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
  EXPECT_EQ(Read(VIRTIO_MMIO_DEVICE_FEATURES), 0u);
}

TEST_F(MmioTransportTest, QueueSizesAreTold) {
  Write(VIRTIO_MMIO_QUEUE_SEL, 1);
  EXPECT_EQ(Read(VIRTIO_MMIO_QUEUE_NUM_MAX), 16u);
  Write(VIRTIO_MMIO_QUEUE_SEL, 2);
  EXPECT_EQ(Read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0u);
}

TEST_F(MmioTransportTest, DriverStartsTheDevice) {
  Start();

  ASSERT_TRUE(device_->active.has_value());
  EXPECT_EQ(device_->active->features, kCommonFeatures);
  EXPECT_TRUE(device_->active->queues[0].ready());
  EXPECT_FALSE(device_->active->queues[1].ready());
}

TEST_F(MmioTransportTest, FeaturesWithoutVersion1AreRefused) {
  EXPECT_EQ(NegotiateTo(kFeaturesOk, kQueueFeatures), kDriver);
}

TEST_F(MmioTransportTest, FeaturesNotOfferedAreRefused) {
  EXPECT_EQ(NegotiateTo(kFeaturesOk, kCommonFeatures | 1ull << 50), kDriver);
}

TEST_F(MmioTransportTest, StepsOutOfOrderAreRefused) {
  Write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER);
  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), 0u);
  EXPECT_EQ(NegotiateTo(kDriver | VIRTIO_CONFIG_S_DRIVER_OK), kDriver);
  EXPECT_FALSE(device_->active.has_value());
  EXPECT_EQ(Counter("echo.refused_writes"), 2u);
}

TEST_F(MmioTransportTest, BitsCanNotBeTakenBack) {
  NegotiateTo(kFeaturesOk);
  Write(VIRTIO_MMIO_STATUS, kDriver);
  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), kFeaturesOk);
}

TEST_F(MmioTransportTest, FailedIsKept) {
  NegotiateTo(kDriver);
  Write(VIRTIO_MMIO_STATUS, kDriver | VIRTIO_CONFIG_S_FAILED);
  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), kDriver | VIRTIO_CONFIG_S_FAILED);
}

TEST_F(MmioTransportTest, FeaturesAreFixedOnceAgreed) {
  NegotiateTo(kFeaturesOk);
  WriteFeatures(0);
  Write(VIRTIO_MMIO_STATUS, kDriverOk);

  EXPECT_EQ(device_->active->features, kCommonFeatures);
}

TEST_F(MmioTransportTest, QueuesAreFixedWhenReadyAndWhenRunning) {
  NegotiateTo(kFeaturesOk);
  WriteQueue(0, driver_.state());
  Write(VIRTIO_MMIO_QUEUE_NUM, 4);
  Write(VIRTIO_MMIO_STATUS, kDriverOk);
  Write(VIRTIO_MMIO_QUEUE_READY, 0);

  EXPECT_EQ(Read(VIRTIO_MMIO_QUEUE_READY), 1u);
  EXPECT_EQ(device_->active->queues[0].size(), 8);
}

TEST_F(MmioTransportTest, QueueCanBeUnmadeBeforeTheStart) {
  NegotiateTo(kFeaturesOk);
  WriteQueue(0, driver_.state());
  Write(VIRTIO_MMIO_QUEUE_READY, 0);

  EXPECT_EQ(Read(VIRTIO_MMIO_QUEUE_READY), 0u);
}

TEST_F(MmioTransportTest, RingOutsideRamNeedsAReset) {
  NegotiateTo(kFeaturesOk);
  QueueState state = driver_.state();
  state.used.value = 0xfffffffffffff000;
  WriteQueue(0, state);

  Write(VIRTIO_MMIO_STATUS, kDriverOk);

  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), kDriverOk | VIRTIO_CONFIG_S_NEEDS_RESET);
  EXPECT_EQ(Read(VIRTIO_MMIO_INTERRUPT_STATUS), uint32_t{VIRTIO_MMIO_INT_CONFIG});
  EXPECT_FALSE(device_->active.has_value());
  EXPECT_EQ(Counter("echo.needs_reset"), 1u);
}

TEST_F(MmioTransportTest, ActivationThatFailsNeedsAReset) {
  device_->fail_activation = true;
  NegotiateTo(kFeaturesOk);

  Write(VIRTIO_MMIO_STATUS, kDriverOk);

  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), kDriverOk | VIRTIO_CONFIG_S_NEEDS_RESET);
}

TEST_F(MmioTransportTest, NotifyReachesTheDeviceByStoreAndByEventfd) {
  Start();
  AddRequest(100);
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
  RunLoop();
  EXPECT_EQ(driver_.TakeUsed()->len, 100u);

  AddRequest(200);
  ASSERT_EQ(::eventfd_write(transport_->notify_fds()[0].get(), 1), 0);
  RunLoop();
  EXPECT_EQ(driver_.TakeUsed()->len, 200u);
  EXPECT_EQ(device_->notified[1], 0);
}

TEST_F(MmioTransportTest, DeviceWithMoreToDoIsCalledAgain) {
  Start();
  for (int i = 0; i < 4; ++i) AddRequest();
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);

  RunLoop(20);

  EXPECT_EQ(driver_.UsedIndex(), 4);
}

TEST_F(MmioTransportTest, InterruptIsTriggeredAndAcknowledged) {
  Start();
  AddRequest();
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
  RunLoop();
  EXPECT_EQ(interrupts_, 1);
  EXPECT_EQ(Read(VIRTIO_MMIO_INTERRUPT_STATUS), uint32_t{VIRTIO_MMIO_INT_VRING});

  Write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);

  EXPECT_EQ(Read(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
}

TEST_F(MmioTransportTest, BrokenRingNeedsAResetAndTheDeviceHearsNoMore) {
  Start();
  driver_.SetAvailableIndex(100);
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
  RunLoop();
  const uint32_t generation = Read(VIRTIO_MMIO_CONFIG_GENERATION);
  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), kDriverOk | VIRTIO_CONFIG_S_NEEDS_RESET);
  EXPECT_NE(generation, 0u);

  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
  RunLoop();

  EXPECT_EQ(device_->notified[0], 1);
}

TEST_F(MmioTransportTest, ResetForgetsAllAndTheDriverMayStartAgain) {
  Start();
  AddRequest();
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
  RunLoop();

  Write(VIRTIO_MMIO_STATUS, 0);

  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), 0u);
  EXPECT_EQ(Read(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
  EXPECT_EQ(Read(VIRTIO_MMIO_QUEUE_READY), 0u);
  EXPECT_FALSE(device_->active.has_value());
  driver_ = FakeQueue(heap_, 8, kCommonFeatures);
  Start();
}

TEST_F(MmioTransportTest, ConfigurationSpaceGoesToTheDevice) {
  uint16_t half = 0;
  transport_->Read(VIRTIO_MMIO_CONFIG + 2, std::as_writable_bytes(std::span(&half, 1)));
  EXPECT_EQ(half, 0x5566);
  EXPECT_EQ(Read(VIRTIO_MMIO_CONFIG + 6), 0x1122u);  // zeros behind the space

  transport_->Write(VIRTIO_MMIO_CONFIG + 4, std::as_bytes(std::span(&half, 1)));
  EXPECT_THAT(device_->written_config, Pair(4, 2));
}

TEST_F(MmioTransportTest, OddAccessesAreHarmless) {
  uint64_t wide = ~0ull;
  transport_->Read(VIRTIO_MMIO_MAGIC_VALUE, std::as_writable_bytes(std::span(&wide, 1)));
  EXPECT_EQ(wide, 0u);
  EXPECT_EQ(Read(VIRTIO_MMIO_MAGIC_VALUE + 2), 0u);
  EXPECT_EQ(Read(0x0f0), 0u);
  transport_->Write(VIRTIO_MMIO_STATUS, std::as_bytes(std::span(&wide, 1)));
  Write(VIRTIO_MMIO_QUEUE_NOTIFY, 999);
  Write(VIRTIO_MMIO_MAGIC_VALUE, 1);
  Write(0x0f0, 1);

  EXPECT_EQ(Read(VIRTIO_MMIO_STATUS), 0u);
}

TEST_F(MmioTransportTest, CountersCarryTheDevicesName) {
  EXPECT_EQ(Counter("echo.requests"), 7u);
  EXPECT_EQ(Counter("echo.resets"), 0u);
}

TEST_F(MmioTransportTest, ARestoredTransportIsWhereTheSavedOneWas) {
  Start();
  Write(VIRTIO_MMIO_QUEUE_SEL, 1);
  driver_.Add(
      std::span<const FakeQueue::Buffer>(std::array{FakeQueue::Buffer{heap_.Allocate(64), 64, false}}));
  snapshot::VirtioState state;
  ASSERT_TRUE(transport_->Save(&state).has_value());
  auto device = std::make_unique<EchoDevice>();
  EchoDevice* const echo = device.get();
  std::atomic<int> interrupts = 0;
  const auto restored =
      *MmioTransport::Create(std::move(device), memory_, std::make_unique<CountingLine>(&interrupts), *loop_);

  ASSERT_TRUE(restored->Restore(state).has_value());

  snapshot::VirtioState again;
  ASSERT_TRUE(restored->Save(&again).has_value());
  EXPECT_EQ(again.SerializeAsString(), state.SerializeAsString());
  ASSERT_TRUE(echo->active.has_value());
  EXPECT_EQ(echo->active->features, kCommonFeatures);
  // It looks at its queues without having been notified, as the notification may be lost.
  EXPECT_EQ(echo->notified[0], 0);
  loop_->Post([this] { loop_->Post([this] { loop_->Stop(); }); });
  ASSERT_TRUE(loop_->Run().has_value());
  EXPECT_GT(echo->notified[0], 0);
}

TEST_F(MmioTransportTest, AStateThatNoDriverCouldHaveMadeIsRefused) {
  Start();
  snapshot::VirtioState good;
  ASSERT_TRUE(transport_->Save(&good).has_value());
  const auto refused = [&](const std::function<void(snapshot::VirtioState&)>& change) {
    snapshot::VirtioState bad = good;
    change(bad);
    std::atomic<int> interrupts = 0;
    const auto transport = *MmioTransport::Create(std::make_unique<EchoDevice>(), memory_,
                                                  std::make_unique<CountingLine>(&interrupts), *loop_);
    return !transport->Restore(bad).has_value();
  };

  EXPECT_TRUE(refused([](auto& state) { state.set_device_id(1); }));
  EXPECT_TRUE(refused([](auto& state) { state.set_status(kDriverOk & ~kDriver); }));
  EXPECT_TRUE(refused([](auto& state) { state.set_driver_features(1ull << 50 | kCommonFeatures); }));
  EXPECT_TRUE(refused([](auto& state) { state.mutable_queues()->RemoveLast(); }));
  EXPECT_TRUE(refused([](auto& state) { state.mutable_queues(0)->set_size(1 << 15); }));
  EXPECT_TRUE(refused([](auto& state) { state.mutable_queues(0)->set_size(3); }));
  EXPECT_TRUE(refused([](auto& state) { state.mutable_queues(0)->set_descriptors(1ull << 40); }));
  EXPECT_FALSE(refused([](auto&) {}));
}

}  // namespace
}  // namespace hmvm
