#include "vmm/platform/ring3/events.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace hmvm::ring3 {
namespace {

class EventChannelsTest : public ::testing::Test {
 protected:
  std::unique_ptr<SharedInfo> shared_ = std::make_unique<SharedInfo>();
  VcpuInfo& info_ = shared_->vcpu_info[0];
  EventChannels events_{shared_.get()};
};

TEST_F(EventChannelsTest, SendSetsAllThreeLevels) {
  EXPECT_TRUE(events_.Send(70));

  EXPECT_EQ(shared_->pending[1], uint64_t{1} << 6);
  EXPECT_EQ(info_.pending_sel, 2U);
  EXPECT_EQ(info_.upcall_pending, 1);
}

TEST_F(EventChannelsTest, SecondSendNeedsNoKick) {
  EXPECT_TRUE(events_.Send(1));

  EXPECT_FALSE(events_.Send(1));
  EXPECT_FALSE(events_.Send(2));
  EXPECT_EQ(shared_->pending[0], 6U);
}

TEST_F(EventChannelsTest, MaskedPortIsPendingButNotAnnounced) {
  shared_->mask[0] = 2;

  EXPECT_FALSE(events_.Send(1));

  EXPECT_EQ(shared_->pending[0], 2U);
  EXPECT_EQ(info_.upcall_pending, 0);
}

TEST_F(EventChannelsTest, UnmaskAnnouncesWhatCameMeanwhile) {
  shared_->mask[0] = 2;
  events_.Send(1);

  EXPECT_TRUE(events_.Unmask(1));

  EXPECT_EQ(shared_->mask[0], 0U);
  EXPECT_EQ(info_.upcall_pending, 1);
}

TEST_F(EventChannelsTest, UnmaskOfAQuietPortAnnouncesNothing) {
  EXPECT_FALSE(events_.Unmask(1));
  EXPECT_EQ(info_.upcall_pending, 0);
}

TEST_F(EventChannelsTest, PortBeyondTheLastIsIgnored) {
  EXPECT_FALSE(events_.Send(kEventChannels));
  EXPECT_FALSE(events_.Unmask(UINT32_MAX));
  EXPECT_FALSE(events_.IsBound(UINT32_MAX));
}

TEST_F(EventChannelsTest, DeliverableOnlyWhenTheGuestTakesIt) {
  events_.Send(1);
  EXPECT_TRUE(events_.Deliverable());

  events_.SetMasked(true);

  EXPECT_FALSE(events_.Deliverable());
  EXPECT_TRUE(events_.Pending());
}

TEST_F(EventChannelsTest, DevicePortsAreBoundFromTheStartAndStay) {
  EXPECT_TRUE(events_.IsBound(EventChannels::DevicePort(0)));
  EXPECT_TRUE(events_.IsBound(EventChannels::DevicePort(31)));

  EXPECT_EQ(events_.Close(EventChannels::DevicePort(0)), -EINVAL);
}

TEST_F(EventChannelsTest, VirqIsBoundOnce) {
  const int64_t port = events_.BindVirq(kVirqTimer, 0);

  EXPECT_GT(port, EventChannels::DevicePort(31));
  EXPECT_EQ(events_.timer_port(), port);
  EXPECT_EQ(events_.BindVirq(kVirqTimer, 0), -EEXIST);
}

TEST_F(EventChannelsTest, WrongVirqOrVcpuIsRefused) {
  EXPECT_EQ(events_.BindVirq(kVirqs, 0), -EINVAL);
  EXPECT_EQ(events_.BindVirq(kVirqTimer, 1), -EINVAL);
  EXPECT_EQ(events_.BindIpi(1), -EINVAL);
}

TEST_F(EventChannelsTest, ClosedPortIsFreeAgain) {
  const int64_t port = events_.BindVirq(kVirqTimer, 0);
  events_.Send(static_cast<uint32_t>(port));

  EXPECT_EQ(events_.Close(static_cast<uint32_t>(port)), 0);

  EXPECT_EQ(events_.timer_port(), 0U);
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
