// Who connects to whom, and what a guest sends that it should not.
#include "vmm/virtio/vsock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/virtio/testing/vsock_fixture.h"

namespace hmvm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(VsockTest, ConfigurationTellsTheCid) {
  uint64_t cid = 0;

  device_->ReadConfig(0, std::as_writable_bytes(std::span(&cid, 1)));

  EXPECT_EQ(cid, kCid);
}

// Connections from the host.

TEST_F(VsockTest, HostConnectsAndBothTalk) {
  Activate();
  const Stream stream = Connect();

  Say(stream.host, "hello guest");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "hello guest");
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "hello host");
  EXPECT_EQ(Hear(stream.host, 10), "hello host");
}

TEST_F(VsockTest, RefusedConnectionIsClosedWithoutAWord) {
  Activate();
  const UniqueFd host = ConnectToListener();
  Say(host, "CONNECT 9\n");
  const Packet request = Receive(VIRTIO_VSOCK_OP_REQUEST);

  Send(Header(VIRTIO_VSOCK_OP_RST, {.host = request.header.src_port, .guest = 9}));

  EXPECT_THAT(Hear(host, 1), IsEmpty());
}

TEST_F(VsockTest, WhatIsNoConnectLineIsClosed) {
  Activate();
  for (const char* line :
       {"GET / HTTP/1.1\r\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n",
        "CONNECT 4294967296\n", "CONNECT 5 5\n", "\n", "CONNECT 00000000000000000000000000000000000005"}) {
    const UniqueFd host = ConnectToListener();
    Say(host, line);
    EXPECT_THAT(Hear(host, 1), IsEmpty()) << line;
  }
  EXPECT_EQ(Counter("connections"), 0u);
}

TEST_F(VsockTest, LineMayComeInPiecesAndDataAtOnce) {
  Activate();
  const UniqueFd host = ConnectToListener();
  Say(host, "CONN");
  Say(host, "ECT 5000\nearly data");

  const Packet request = Receive(VIRTIO_VSOCK_OP_REQUEST);
  Send(Header(VIRTIO_VSOCK_OP_RESPONSE, {.host = request.header.src_port, .guest = 5000}));

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "early data");
}

TEST_F(VsockTest, HostThatLeavesBeforeTheAnswerIsReset) {
  Activate();
  UniqueFd host = ConnectToListener();
  Say(host, "CONNECT 5000\n");
  Receive(VIRTIO_VSOCK_OP_REQUEST);

  host.reset();

  Receive(VIRTIO_VSOCK_OP_RST);
}

TEST_F(VsockTest, ConnectionMadeBeforeTheGuestBootsWaitsForIt) {
  const UniqueFd host = ConnectToListener();
  Say(host, "CONNECT 5000\n");
  Activate();

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_REQUEST).header.dst_port, 5000u);
}

TEST_F(VsockTest, ManyConnectionsKeepTheirData) {
  Activate();
  std::vector<Stream> streams;
  for (int i = 0; i < 200; ++i) streams.push_back(Connect());

  for (const Stream& stream : streams)
    Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), std::to_string(stream.ports.host));

  for (const Stream& stream : streams) {
    const std::string expected = std::to_string(stream.ports.host);
    EXPECT_EQ(Hear(stream.host, expected.size()), expected);
  }
}

// Connections from the guest.

TEST_F(VsockTest, FirstConnectionToTheAgentPortIsTheAgents) {
  Say(agent_, "request from before the boot");
  Activate();

  Send(Header(VIRTIO_VSOCK_OP_REQUEST, {.host = 1024, .guest = 40000}));

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RESPONSE).header.dst_port, 40000u);
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "request from before the boot");
  Send(Header(VIRTIO_VSOCK_OP_RW, {.host = 1024, .guest = 40000}), "answer");
  EXPECT_EQ(Hear(agent_, 6), "answer");
  Send(Header(VIRTIO_VSOCK_OP_REQUEST, {.host = 1024, .guest = 40001}));
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RST).header.dst_port, 40001u);
}

TEST_F(VsockTest, OtherPortsReachTheSocketOfThatName) {
  const UniqueFd service = Listen(path_ + "_77");
  Activate();

  Send(Header(VIRTIO_VSOCK_OP_REQUEST, {.host = 77, .guest = 40000}));
  Receive(VIRTIO_VSOCK_OP_RESPONSE);
  const UniqueFd host(::accept(service.get(), nullptr, nullptr));
  Send(Header(VIRTIO_VSOCK_OP_RW, {.host = 77, .guest = 40000}), "ping");

  EXPECT_EQ(Hear(host, 4), "ping");
}

TEST_F(VsockTest, PortNobodyListensOnIsReset) {
  Activate();

  Send(Header(VIRTIO_VSOCK_OP_REQUEST, {.host = 78, .guest = 40000}));

  const Packet reset = Receive(VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(reset.header.src_port, 78u);
  EXPECT_EQ(reset.header.dst_port, 40000u);
}

// Packets no driver should send.

TEST_F(VsockTest, PacketOfNoConnectionIsReset) {
  Activate();

  Send(Header(VIRTIO_VSOCK_OP_RW, {.host = 7, .guest = 8}), "?");

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RST).header.src_port, 7u);
  Send(Header(VIRTIO_VSOCK_OP_RST, {.host = 7, .guest = 8}));
  EXPECT_FALSE(TryReceive().has_value());
}

TEST_F(VsockTest, OtherSocketTypesAreReset) {
  Activate();
  virtio_vsock_hdr header = Header(VIRTIO_VSOCK_OP_REQUEST, {.host = 1024, .guest = 8});
  header.type = VIRTIO_VSOCK_TYPE_SEQPACKET;

  Send(header);

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RST).header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
}

TEST_F(VsockTest, WrongAddressesAndLengthsAreDropped) {
  Activate();
  virtio_vsock_hdr header = Header(VIRTIO_VSOCK_OP_RW, {.host = 7, .guest = 8});
  header.dst_cid = 9;
  Send(header);
  header = Header(VIRTIO_VSOCK_OP_RW, {.host = 7, .guest = 8});
  header.src_cid = 9;
  Send(header);
  SendRaw("too short for a header");
  header.src_cid = kCid;
  header.len = 100;  // and none follow
  SendRaw({reinterpret_cast<const char*>(&header), sizeof(header)});

  EXPECT_FALSE(TryReceive().has_value());
  EXPECT_EQ(Counter("dropped_packets"), 4u);
}

TEST_F(VsockTest, OperationsOutOfTurnResetTheConnection) {
  for (const uint16_t operation :
       std::initializer_list<uint16_t>{0, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, 200}) {
    Activate();
    const Stream stream = Connect();
    Send(Header(operation, stream.ports));
    Receive(VIRTIO_VSOCK_OP_RST);
    EXPECT_THAT(Hear(stream.host, 1), IsEmpty());
  }
}

TEST_F(VsockTest, AnswersToAFloodWaitForReceiveBuffers) {
  ASSERT_TRUE(machine_.Activate(*device_, kCommonFeatures).has_value());
  const virtio_vsock_hdr stray = Header(VIRTIO_VSOCK_OP_RW, {.host = 7, .guest = 8});
  const FakeQueue::Buffer buffer{machine_.Place(std::as_bytes(std::span(&stray, 1))), sizeof(stray), false};
  // Without receive buffers only so many are taken, and the rest stays in the ring.
  for (int i = 0; i < 200; ++i) machine_.queues[Vsock::kTxQueue].Add(std::span(&buffer, 1));
  Notify(Vsock::kTxQueue);
  Barrier();
  for (int i = 0; i < 200; ++i) machine_.queues[Vsock::kTxQueue].Add(std::span(&buffer, 1));
  Notify(Vsock::kTxQueue);
  Barrier();
  const uint16_t taken = machine_.queues[Vsock::kTxQueue].UsedIndex();
  EXPECT_LT(taken, 400);

  for (int i = 0; i < kRxBuffers; ++i) AddRxBuffer(machine_.heap.Allocate(kRxBufferBytes), kRxBufferBytes);
  Notify(Vsock::kRxQueue);
  for (int i = 0; i < 400; ++i) Receive(VIRTIO_VSOCK_OP_RST);

  EXPECT_EQ(machine_.queues[Vsock::kTxQueue].UsedIndex(), 400);
}

TEST_F(VsockTest, ReceiveBufferWithoutRoomForDataNeedsAReset) {
  ASSERT_TRUE(machine_.Activate(*device_, kCommonFeatures).has_value());
  AddRxBuffer(machine_.heap.Allocate(sizeof(virtio_vsock_hdr)), sizeof(virtio_vsock_hdr));
  const UniqueFd host = ConnectToListener();
  Say(host, "CONNECT 5000\n");
  Notify(Vsock::kRxQueue);

  while (NeedsReset().empty()) Barrier();

  EXPECT_THAT(NeedsReset().front(), HasSubstr("without room for data"));
}

TEST_F(VsockTest, DisabledQueuesHaveNothingToDo) {
  machine_.ActivateDisabled(*device_);
  const UniqueFd host = ConnectToListener();
  Say(host, "CONNECT 5000\n");
  Barrier();

  std::lock_guard lock(device_->mutex());
  EXPECT_FALSE(device_->OnQueueNotify(Vsock::kTxQueue));
  EXPECT_FALSE(device_->OnQueueNotify(Vsock::kRxQueue));
}

}  // namespace
}  // namespace hmvm
