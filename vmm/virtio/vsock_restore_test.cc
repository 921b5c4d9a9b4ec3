// The connections of a vsock device over a snapshot: the muxer's part, without rings and threads.
#include <linux/vm_sockets.h>
#include <signal.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/virtio/vsock_muxer.h"

namespace hmvm {
namespace {

constexpr uint64_t kCid = 3;

class VsockRestoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<VsockBackend> MakeMuxer() {
    ::signal(SIGPIPE, SIG_IGN);  // as hmvm-vmm
    SocketPair agent = *MakeSocketPair(SOCK_STREAM);
    agent_ = std::move(agent.first);
    return *VsockMuxer::Create({.guest_cid = kCid,
                                .listener = {},
                                .path_prefix = "",
                                .agent = std::move(agent.second),
                                .mutex = &mutex_,
                                .serve = [] { return false; }},
                               *loop_);
  }
  static virtio_vsock_hdr FromGuest(uint32_t port, uint16_t operation, uint32_t bytes = 0) {
    return {.src_cid = kCid,
            .dst_cid = VMADDR_CID_HOST,
            .src_port = port,
            .dst_port = kAgentPort,
            .len = bytes,
            .type = VIRTIO_VSOCK_TYPE_STREAM,
            .op = operation,
            .flags = 0,
            .buf_alloc = 4096,
            .fwd_cnt = 0};
  }
  static void Send(VsockBackend& muxer, uint32_t port, std::string text) {
    iovec bytes = {text.data(), text.size()};
    muxer.OnPacket(FromGuest(port, VIRTIO_VSOCK_OP_RW, static_cast<uint32_t>(text.size())),
                   std::span(&bytes, 1));
  }
  // All that waits for the guest.
  std::vector<virtio_vsock_hdr> Packets(VsockBackend& muxer) {
    std::vector<virtio_vsock_hdr> packets;
    while (muxer.HasPacket()) {
      iovec room = {room_, sizeof(room_)};
      if (const auto header = muxer.NextPacket(std::span(&room, 1))) packets.push_back(*header);
    }
    return packets;
  }
  std::string ReadAgent() const {
    char text[100];
    const ssize_t got = ::recv(agent_.get(), text, sizeof(text), MSG_DONTWAIT);
    return got > 0 ? std::string(text, static_cast<size_t>(got)) : "";
  }

  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::mutex mutex_;
  UniqueFd agent_;
  std::byte room_[4096];
};

TEST_F(VsockRestoreTest, TheAgentsChannelGoesOnWithItsCredit) {
  snapshot::VsockState state;
  {
    const auto muxer = MakeMuxer();
    muxer->OnPacket(FromGuest(5, VIRTIO_VSOCK_OP_REQUEST), {});
    Packets(*muxer);
    Send(*muxer, 5, "before");
    muxer->Save(&state);
  }
  const auto restored = MakeMuxer();

  ASSERT_TRUE(restored->Restore(state).has_value());
  Send(*restored, 5, "after");
  const auto packets = Packets(*restored);

  EXPECT_EQ(ReadAgent(), "after");
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  EXPECT_EQ(packets[0].dst_port, 5u);
  EXPECT_EQ(packets[0].fwd_cnt, 11u);  // "before" and "after"
}

TEST_F(VsockRestoreTest, WithoutAnAgentItsChannelEnds) {
  snapshot::VsockState state;
  const auto muxer = MakeMuxer();
  muxer->OnPacket(FromGuest(5, VIRTIO_VSOCK_OP_REQUEST), {});
  muxer->Save(&state);
  const auto restored = *VsockMuxer::Create({.guest_cid = kCid,
                                             .listener = {},
                                             .path_prefix = "",
                                             .agent = {},
                                             .mutex = &mutex_,
                                             .serve = [] { return false; }},
                                            *loop_);

  ASSERT_TRUE(restored->Restore(state).has_value());
  const auto packets = Packets(*restored);

  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].op, VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(packets[0].dst_port, 5u);
}

TEST_F(VsockRestoreTest, AnswersThatWaitedAreGiven) {
  snapshot::VsockState state;
  {
    const auto muxer = MakeMuxer();
    muxer->OnPacket(FromGuest(5, VIRTIO_VSOCK_OP_REQUEST), {});
    Packets(*muxer);
    Send(*muxer, 6, "to nobody");  // refused: a RST waits
    muxer->Save(&state);
  }
  const auto restored = MakeMuxer();

  ASSERT_TRUE(restored->Restore(state).has_value());
  const auto packets = Packets(*restored);

  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].op, VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(packets[0].dst_port, 6u);
}

TEST_F(VsockRestoreTest, AStateThatNoMuxerHasIsRefused) {
  snapshot::VsockState ports;
  ports.set_next_host_port(5);
  EXPECT_FALSE(MakeMuxer()->Restore(ports).has_value());

  snapshot::VsockState backlog;
  backlog.set_next_host_port(1u << 30);
  backlog.mutable_agent()->mutable_backlog()->resize(VsockConnection::kBufferBytes + 1);
  EXPECT_FALSE(MakeMuxer()->Restore(backlog).has_value());

  snapshot::VsockState ended;
  ended.set_next_host_port(1u << 30);
  ended.mutable_agent()->set_guest_ended(true);
  ended.mutable_agent()->set_guest_reads_no_more(true);
  EXPECT_FALSE(MakeMuxer()->Restore(ended).has_value());
}

}  // namespace
}  // namespace hmvm
