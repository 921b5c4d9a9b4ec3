#include "vmm/platform/ring3/events.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

class EventChannelsTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kVcpus = 2;

  std::unique_ptr<SharedInfo> shared_ = std::make_unique<SharedInfo>();
  VcpuInfo& info_ = shared_->vcpu_info[0];
  EventChannels events_{shared_.get(), kVcpus};
};

TEST_F(EventChannelsTest, SendSetsAllThreeLevels) {
  EXPECT_EQ(events_.Send(70), 0U);

  EXPECT_EQ(shared_->pending[1], uint64_t{1} << 6);
  EXPECT_EQ(info_.pending_sel, 2U);
  EXPECT_EQ(info_.upcall_pending, 1);
}

TEST_F(EventChannelsTest, SecondSendNeedsNoKick) {
  EXPECT_EQ(events_.Send(1), 0U);

  EXPECT_EQ(events_.Send(1), std::nullopt);
  EXPECT_EQ(events_.Send(2), std::nullopt);
  EXPECT_EQ(shared_->pending[0], 6U);
}

TEST_F(EventChannelsTest, MaskedPortIsPendingButNotAnnounced) {
  shared_->mask[0] = 2;

  EXPECT_EQ(events_.Send(1), std::nullopt);

  EXPECT_EQ(shared_->pending[0], 2U);
  EXPECT_EQ(info_.upcall_pending, 0);
}

TEST_F(EventChannelsTest, UnmaskAnnouncesWhatCameMeanwhile) {
  shared_->mask[0] = 2;
  events_.Send(1);

  EXPECT_EQ(events_.Unmask(1), 0U);

  EXPECT_EQ(shared_->mask[0], 0U);
  EXPECT_EQ(info_.upcall_pending, 1);
}

TEST_F(EventChannelsTest, UnmaskOfAQuietPortAnnouncesNothing) {
  EXPECT_EQ(events_.Unmask(1), std::nullopt);
  EXPECT_EQ(info_.upcall_pending, 0);
}

TEST_F(EventChannelsTest, PortBeyondTheLastIsIgnored) {
  EXPECT_EQ(events_.Send(kEventChannels), std::nullopt);
  EXPECT_EQ(events_.Unmask(UINT32_MAX), std::nullopt);
  EXPECT_FALSE(events_.IsBound(UINT32_MAX));
}

TEST_F(EventChannelsTest, DeliverableOnlyWhenTheGuestTakesIt) {
  events_.Send(1);
  EXPECT_TRUE(events_.Deliverable(0));

  events_.SetMasked(0, true);

  EXPECT_FALSE(events_.Deliverable(0));
  EXPECT_TRUE(events_.Pending(0));
}

TEST_F(EventChannelsTest, DevicePortsAreBoundFromTheStartAndStay) {
  EXPECT_TRUE(events_.IsBound(EventChannels::DevicePort(0)));
  EXPECT_TRUE(events_.IsBound(EventChannels::DevicePort(31)));

  EXPECT_EQ(events_.Close(EventChannels::DevicePort(0)), -EINVAL);
}

TEST_F(EventChannelsTest, VirqIsBoundOnce) {
  const int64_t port = events_.BindVirq(kVirqTimer, 0);

  EXPECT_GT(port, EventChannels::DevicePort(31));
  EXPECT_EQ(events_.BindVirq(kVirqTimer, 0), -EEXIST);
  EXPECT_GT(events_.BindVirq(kVirqTimer, 1), port);
}

TEST_F(EventChannelsTest, WrongVirqOrVcpuIsRefused) {
  EXPECT_EQ(events_.BindVirq(kVirqs, 0), -EINVAL);
  for (const uint32_t vcpu : {kVcpus, kMaxVcpus, UINT32_MAX}) {
    EXPECT_EQ(events_.BindVirq(kVirqTimer, vcpu), -ENOENT);
    EXPECT_EQ(events_.BindIpi(vcpu), -ENOENT);
    EXPECT_EQ(events_.BindVcpu(EventChannels::DevicePort(0), vcpu), -ENOENT);
  }
}

TEST_F(EventChannelsTest, IpiGoesToItsVcpu) {
  const auto port = static_cast<uint32_t>(events_.BindIpi(1));

  EXPECT_EQ(events_.Send(port), 1U);

  EXPECT_TRUE(events_.Pending(1));
  EXPECT_FALSE(events_.Pending(0));
  EXPECT_EQ(shared_->vcpu_info[1].pending_sel, 1U);
}

TEST_F(EventChannelsTest, DevicePortMovesAndOthersStay) {
  EXPECT_EQ(events_.BindVcpu(1, 1), 0);
  EXPECT_EQ(events_.Send(1), 1U);

  EXPECT_EQ(events_.BindVcpu(static_cast<uint32_t>(events_.BindIpi(0)), 1), -EINVAL);
  EXPECT_EQ(events_.BindVcpu(kEventChannels - 1, 1), -EINVAL);  // not bound
  EXPECT_EQ(events_.BindVcpu(UINT32_MAX, 1), -EINVAL);
}

TEST_F(EventChannelsTest, TimerReachesTheVcpuItIsBoundOn) {
  events_.SendTimer(1);  // not bound: nothing
  EXPECT_FALSE(events_.Pending(1));
  events_.BindVirq(kVirqTimer, 1);

  events_.SendTimer(1);

  EXPECT_TRUE(events_.Pending(1));
  EXPECT_FALSE(events_.Pending(0));
}

TEST_F(EventChannelsTest, PollingVcpuHearsOfMaskedPorts) {
  const auto port = static_cast<uint32_t>(events_.BindIpi(1));
  shared_->mask[port / 64] = ~uint64_t{0};
  events_.SetPolling(1, true);

  EXPECT_EQ(events_.Send(port), 1U);

  EXPECT_TRUE(events_.PortPending(port));
  EXPECT_FALSE(events_.Pending(1));
}

TEST_F(EventChannelsTest, ClosedPortIsFreeAgain) {
  const int64_t port = events_.BindVirq(kVirqTimer, 0);
  events_.Send(static_cast<uint32_t>(port));

  EXPECT_EQ(events_.Close(static_cast<uint32_t>(port)), 0);

  EXPECT_EQ(events_.Close(static_cast<uint32_t>(port)), -EINVAL);
  EXPECT_EQ(events_.BindIpi(0), port);
  EXPECT_EQ(shared_->pending[port / 64] >> (port % 64) & 1, 0U);
}

TEST_F(EventChannelsTest, PortsRunOut) {
  int64_t port = 0;
  for (uint32_t i = 0; i < kEventChannels && port >= 0; ++i) port = events_.BindIpi(0);

  EXPECT_EQ(port, -ENOSPC);
}

TEST_F(EventChannelsTest, StatusTellsTheVirq) {
  const auto port = static_cast<uint32_t>(events_.BindVirq(3, 0));
  EventStatus status = {};

  EXPECT_EQ(events_.Status(port, &status), 0);

  EXPECT_EQ(status.virq, 3U);
  EXPECT_EQ(events_.Status(kEventChannels, &status), -EINVAL);
}

}  // namespace
}  // namespace hmvm::ring3
