#include "vmm/virtio/vsock.h"

#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <semaphore>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/sanitizer.h"
#include "vmm/virtio/testing/fake_driver.h"
#include "vmm/virtio/vsock_connection.h"

namespace hmvm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kCid = 3;
constexpr uint32_t kRxBufferBytes = 4096 + sizeof(virtio_vsock_hdr);
constexpr uint16_t kRxBuffers = 128;
constexpr uint32_t kLargeCredit = 1 << 20;

struct Packet {
  virtio_vsock_hdr header;
  std::string payload;
};

sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

UniqueFd Listen(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = Address(path);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd.get(), 512), 0);
  return fd;
}

void Say(const UniqueFd& fd, std::string_view text) { ASSERT_TRUE(WriteAll(fd.get(), text).has_value()); }

std::string Hear(const UniqueFd& fd, size_t bytes) {
  std::string text(bytes, '\0');
  const auto got = ReadFull(fd.get(), std::as_writable_bytes(std::span(text)));
  text.resize(got.value_or(0));
  return text;
}

std::string Pattern(uint64_t offset, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((offset + i) * 2654435761u >> 13);
  return text;
}

// As long as it lives this process gets no descriptor but those that it closes. Not with UBSan, which makes a
// pipe to look whether an object may be read, and takes a failure for one that may not.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const UniqueFd lowest_free(::dup(STDERR_FILENO));
    const rlimit none = {.rlim_cur = static_cast<rlim_t>(lowest_free.get()), .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

// The device with its loop on a thread of its own; the test is the guest's driver, and the host's programs.
class VsockTest : public ::testing::Test {
 protected:
  VsockTest() {
    ::signal(SIGPIPE, SIG_IGN);  // as hmvm-vmm
    auto agent = *MakeSocketPair(SOCK_STREAM);
    agent_ = std::move(agent.first);
    device_ = *Vsock::Create({.guest_cid = kCid,
                              .listener = Listen(path_),
                              .path_prefix = path_,
                              .agent = std::move(agent.second)},
                             *loop_);
    machine_.interrupt.on_used = [this] { used_.release(); };
    thread_ = std::thread([this] { EXPECT_TRUE(loop_->Run().has_value()); });
  }

  ~VsockTest() override {
    loop_->Stop();
    thread_.join();
    device_.reset();
    for (const std::string& path : {path_, path_ + "_77"}) ::unlink(path.c_str());
    ::rmdir(dir_.c_str());
  }

  void Activate() {
    ASSERT_TRUE(machine_.Activate(*device_, kCommonFeatures).has_value());
    for (uint16_t i = 0; i < kRxBuffers; ++i)
      AddRxBuffer(machine_.heap.Allocate(kRxBufferBytes), kRxBufferBytes);
    tx_buffer_ = machine_.heap.Allocate(kMaxVsockPayloadBytes + 4096);
    Notify(Vsock::kRxQueue);
  }

  void AddRxBuffer(GuestAddress address, uint32_t bytes) {
    const FakeQueue::Buffer buffer{address, bytes, true};
    const uint16_t head = machine_.queues[Vsock::kRxQueue].Add(std::span(&buffer, 1));
    rx_addresses_[head] = address;
  }

  void Notify(uint16_t queue) {
    loop_->Post([this, queue] {
      std::lock_guard lock(device_->mutex());
      if (device_->OnQueueNotify(queue)) Notify(queue);
    });
  }

  // Sends one packet and waits until the device has taken it.
  void Send(virtio_vsock_hdr header, std::string_view payload = {}) {
    header.len = static_cast<uint32_t>(payload.size());
    SendRaw(std::string(reinterpret_cast<const char*>(&header), sizeof(header)).append(payload));
  }
  void SendRaw(std::string_view bytes) {
    ASSERT_TRUE(machine_.memory.WriteBytes(tx_buffer_, std::as_bytes(std::span(bytes))).has_value());
    const FakeQueue::Buffer buffer{tx_buffer_, static_cast<uint32_t>(bytes.size()), false};
    machine_.queues[Vsock::kTxQueue].Add(std::span(&buffer, 1));
    Notify(Vsock::kTxQueue);
    while (!machine_.queues[Vsock::kTxQueue].TakeUsed()) used_.acquire();
  }

  // The next packet for the guest.
  Packet Receive() {
    FakeQueue& queue = machine_.queues[Vsock::kRxQueue];
    std::optional<vring_used_elem> used;
    while (!(used = queue.TakeUsed())) used_.acquire();
    const GuestAddress address = rx_addresses_[static_cast<uint16_t>(used->id)];
    Packet packet{.header = *machine_.memory.Read<virtio_vsock_hdr>(address), .payload = {}};
    EXPECT_EQ(used->len, sizeof(packet.header) + packet.header.len);
    packet.payload = machine_.Text(GuestAddress{address.value + sizeof(packet.header)}, packet.header.len);
    AddRxBuffer(address, kRxBufferBytes);
    Notify(Vsock::kRxQueue);
    EXPECT_EQ(packet.header.src_cid, VMADDR_CID_HOST);
    EXPECT_EQ(packet.header.dst_cid, kCid);
    return packet;
  }
  Packet Receive(uint16_t operation) {
    Packet packet = Receive();
    EXPECT_EQ(packet.header.op, operation);
    return packet;
  }

  static virtio_vsock_hdr Header(uint16_t operation, VsockPorts ports, uint32_t flags = 0,
                                 uint32_t forwarded = 0, uint32_t buffer = kLargeCredit) {
    return {.src_cid = kCid,
            .dst_cid = VMADDR_CID_HOST,
            .src_port = ports.guest,
            .dst_port = ports.host,
            .len = 0,
            .type = VIRTIO_VSOCK_TYPE_STREAM,
            .op = operation,
            .flags = flags,
            .buf_alloc = buffer,
            .fwd_cnt = forwarded};
  }

  UniqueFd ConnectToListener() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ConnectToListener(fd);
    return fd;
  }
  void ConnectToListener(const UniqueFd& socket) {
    const sockaddr_un address = Address(path_);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }

  // Calls with `socket`; the device has no descriptor to accept it.
  void WaitInVain(const UniqueFd& socket) {
    ConnectToListener(socket);
    Say(socket, "CONNECT 5000\n");
    for (int i = 0; i < 2; ++i) Barrier();
    ASSERT_FALSE(TryReceive().has_value());
  }

  // A connection from the host to the guest's port 5000.
  struct Stream {
    UniqueFd host;
    VsockPorts ports;
  };
  Stream Connect(uint32_t guest_buffer = kLargeCredit) {
    Stream stream{.host = ConnectToListener(), .ports = {}};
    Say(stream.host, "CONNECT 5000\n");
    const Packet request = Receive(VIRTIO_VSOCK_OP_REQUEST);
    EXPECT_EQ(request.header.dst_port, 5000u);
    EXPECT_EQ(request.header.buf_alloc, VsockConnection::kBufferBytes);
    stream.ports = {.host = request.header.src_port, .guest = 5000};
    Send(Header(VIRTIO_VSOCK_OP_RESPONSE, stream.ports, 0, 0, guest_buffer));
    const std::string answer = "OK " + std::to_string(stream.ports.host) + "\n";
    EXPECT_EQ(Hear(stream.host, answer.size()), answer);
    return stream;
  }

  // Returns when the loop has done all that was asked of it before.
  void Barrier() {
    std::binary_semaphore done(0);
    loop_->Post([&] { done.release(); });
    done.acquire();
  }

  // A packet, if the device had one to give.
  std::optional<Packet> TryReceive() {
    Barrier();
    FakeQueue& queue = machine_.queues[Vsock::kRxQueue];
    if (queue.UsedIndex() == queue.taken()) return std::nullopt;
    return Receive();
  }

  // fwd_cnt of the device at this moment.
  uint32_t AskForwarded(VsockPorts ports) {
    Send(Header(VIRTIO_VSOCK_OP_CREDIT_REQUEST, ports));
    std::optional<Packet> last;
    while (const auto packet = TryReceive()) last = packet;
    EXPECT_TRUE(last.has_value());
    return last->header.fwd_cnt;
  }

  std::vector<std::string> NeedsReset() {
    std::lock_guard lock(device_->mutex());
    return machine_.interrupt.needs_reset;
  }

  uint64_t Counter(std::string_view name) {
    std::lock_guard lock(device_->mutex());
    for (const auto& [counter, value] : device_->Counters()) {
      if (counter == name) return value;
    }
    ADD_FAILURE() << "no counter " << name;
    return 0;
  }

  std::string dir_ = [] {
    std::string name = ::testing::TempDir() + "hmvm-vsock-XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  std::string path_ = dir_ + "/v";
  FakeMachine machine_{64 << 20};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  UniqueFd agent_;  // the other end of Options::agent
  std::unique_ptr<VirtioDevice> device_;
  std::counting_semaphore<> used_{0};
  std::thread thread_;
  std::map<uint16_t, GuestAddress> rx_addresses_;
  GuestAddress tx_buffer_;
};

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

// Flow control.

TEST_F(VsockTest, HostThatDoesNotReadStopsTheGuestAndNothingIsLost) {
  Activate();
  const Stream stream = Connect();
  uint32_t sent = 0;
  uint32_t forwarded = 0;  // as the device tells it
  // As a driver does: all its credit, and then what has come free, until that is nothing.
  for (bool stopped = false; !stopped;) {
    for (; VsockConnection::kBufferBytes - (sent - forwarded) >= 16384; sent += 16384) {
      Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), Pattern(sent, 16384));
    }
    const uint32_t before = std::exchange(forwarded, AskForwarded(stream.ports));
    stopped = forwarded == before;
  }
  EXPECT_GE(sent, VsockConnection::kBufferBytes);

  EXPECT_TRUE(Hear(stream.host, sent) == Pattern(0, sent));
  EXPECT_EQ(AskForwarded(stream.ports), sent);
}

TEST_F(VsockTest, MoreThanItsCreditResetsTheConnection) {
  Activate();
  const Stream stream = Connect();
  for (uint32_t sent = 0; sent <= 4 * VsockConnection::kBufferBytes; sent += 65536) {
    Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), Pattern(0, 65536));
  }

  Packet packet = Receive();
  while (packet.header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE) packet = Receive();
  EXPECT_EQ(packet.header.op, VIRTIO_VSOCK_OP_RST);
}

TEST_F(VsockTest, GuestWithoutCreditGetsNothingUntilItHasSome) {
  Activate();
  const Stream stream = Connect(/*guest_buffer=*/1000);
  Say(stream.host, Pattern(0, 2500));

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, Pattern(0, 1000));
  Receive(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  EXPECT_FALSE(TryReceive().has_value());
  Send(Header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, stream.ports, 0, /*forwarded=*/1000, 1000));
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, Pattern(1000, 1000));
  Receive(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  Send(Header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, stream.ports, 0, /*forwarded=*/2000, 1000));
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, Pattern(2000, 500));
}

TEST_F(VsockTest, CreditThatMakesNoSenseIsNone) {
  Activate();
  const Stream stream = Connect(/*guest_buffer=*/0);
  // More read than was ever sent.
  Send(Header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, stream.ports, 0, /*forwarded=*/5000, 1000));

  Say(stream.host, "x");

  Receive(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  EXPECT_FALSE(TryReceive().has_value());
}

TEST_F(VsockTest, CreditRequestIsAnswered) {
  Activate();
  const Stream stream = Connect();
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "12345");

  Send(Header(VIRTIO_VSOCK_OP_CREDIT_REQUEST, stream.ports));

  const Packet update = Receive(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  EXPECT_EQ(update.header.fwd_cnt, 5u);
  EXPECT_EQ(update.header.buf_alloc, VsockConnection::kBufferBytes);
}

TEST_F(VsockTest, LongStreamsArriveByteForByteBothWays) {
  constexpr uint32_t kBytes = 24 << 20;
  Activate();
  const Stream stream = Connect();
  std::thread writer([&] {
    for (uint32_t sent = 0; sent < kBytes; sent += 1 << 16) Say(stream.host, Pattern(sent, 1 << 16));
  });
  bool host_heard_right = true;
  std::thread reader([&] {
    for (uint32_t heard = 0; heard < kBytes; heard += 1 << 16) {
      host_heard_right &= Hear(stream.host, 1 << 16) == Pattern(heard, 1 << 16);
    }
  });

  uint32_t sent = 0;
  uint32_t received = 0;
  uint32_t forwarded = 0;
  bool guest_heard_right = true;
  while (sent < kBytes || received < kBytes) {
    if (sent < kBytes && VsockConnection::kBufferBytes - (sent - forwarded) >= 32768) {
      Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports, 0, received), Pattern(sent, 32768));
      sent += 32768;
      continue;
    }
    const Packet packet = Receive();
    forwarded = packet.header.fwd_cnt;
    if (packet.header.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST ||
        received % (256 << 10) + packet.payload.size() > 256 << 10) {
      Send(Header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, stream.ports, 0, received));
    }
    guest_heard_right &= packet.payload == Pattern(received, packet.payload.size());
    received += static_cast<uint32_t>(packet.payload.size());
  }
  writer.join();
  reader.join();

  EXPECT_TRUE(guest_heard_right);
  EXPECT_TRUE(host_heard_right);
}

// Ends.

TEST_F(VsockTest, HostThatShutsItsWriteSideCanStillRead) {
  Activate();
  const Stream stream = Connect();
  Say(stream.host, "last words");
  ASSERT_EQ(::shutdown(stream.host.get(), SHUT_WR), 0);

  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "last words");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_SHUTDOWN).header.flags, uint32_t{VIRTIO_VSOCK_SHUTDOWN_SEND});
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "still here");
  EXPECT_EQ(Hear(stream.host, 10), "still here");
}

TEST_F(VsockTest, GuestThatShutsItsWriteSideCanStillRead) {
  Activate();
  const Stream stream = Connect();
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "last words");
  Send(Header(VIRTIO_VSOCK_OP_SHUTDOWN, stream.ports, VIRTIO_VSOCK_SHUTDOWN_SEND));

  EXPECT_EQ(Hear(stream.host, 100), "last words");
  Say(stream.host, "still here");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "still here");
}

TEST_F(VsockTest, GuestThatReadsNoMoreMakesTheHostsWritesFail) {
  Activate();
  const Stream stream = Connect();

  Send(Header(VIRTIO_VSOCK_OP_SHUTDOWN, stream.ports, VIRTIO_VSOCK_SHUTDOWN_RCV));

  EXPECT_EQ(::send(stream.host.get(), "x", 1, MSG_NOSIGNAL), -1);
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "still here");
  EXPECT_EQ(Hear(stream.host, 10), "still here");
}

TEST_F(VsockTest, GuestThatClosesIsConfirmedAndTheHostGetsTheRest) {
  Activate();
  const Stream stream = Connect();
  Say(stream.host, "never read");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "never read");
  uint32_t sent = 0;
  for (; sent < VsockConnection::kBufferBytes; sent += 65536) {
    Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), Pattern(sent, 65536));
  }
  Say(stream.host, "unread");

  Send(
      Header(VIRTIO_VSOCK_OP_SHUTDOWN, stream.ports, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV));

  Packet packet = Receive();
  while (packet.header.op != VIRTIO_VSOCK_OP_RST) packet = Receive();
  EXPECT_TRUE(Hear(stream.host, sent) == Pattern(0, sent));
  EXPECT_EQ(::recv(stream.host.get(), &sent, 1, 0), 0);
}

TEST_F(VsockTest, HostThatClosesIsToldAfterItsLastBytes) {
  Activate();
  Stream stream = Connect();
  Say(stream.host, Pattern(0, 10000));
  stream.host.reset();

  std::string heard;
  uint32_t flags = 0;
  while (flags != (VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV)) {
    const Packet packet = Receive();
    // The two directions may be told in one packet or one after the other; no bytes follow the first.
    EXPECT_TRUE(packet.payload.empty() || (flags & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0);
    heard += packet.payload;
    flags |= packet.header.flags;
  }
  EXPECT_TRUE(heard == Pattern(0, 10000));
  Send(Header(VIRTIO_VSOCK_OP_RST, stream.ports));
  Barrier();
  EXPECT_EQ(Counter("open_connections"), 0u);
}

TEST_F(VsockTest, WritesOfTheGuestToAClosedHostAreTakenAndDropped) {
  Activate();
  Stream stream = Connect();
  stream.host.reset();
  while (Receive(VIRTIO_VSOCK_OP_SHUTDOWN).header.flags != 3) {
  }

  for (int i = 0; i < 16; ++i) Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), Pattern(0, 65536));

  EXPECT_EQ(AskForwarded(stream.ports), 16u * 65536);
}

TEST_F(VsockTest, ResetByTheGuestEndsTheHostsStream) {
  Activate();
  const Stream stream = Connect();
  Send(Header(VIRTIO_VSOCK_OP_RW, stream.ports), "sent before");

  Send(Header(VIRTIO_VSOCK_OP_RST, stream.ports));

  EXPECT_EQ(Hear(stream.host, 100), "sent before");
}

TEST_F(VsockTest, DriverResetClosesConnectionsAndNewOnesWork) {
  Activate();
  const Stream old = Connect();

  Activate();

  EXPECT_THAT(Hear(old.host, 1), IsEmpty());
  const Stream stream = Connect();
  Say(stream.host, "again");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "again");
}

// The driver resets from its own thread, while the loop has the connections of before and those of after.
TEST_F(VsockTest, DriverMayResetWhileConnectionsComeAndGo) {
  constexpr uint64_t kResets = 100;
  Activate();
  for (uint64_t reset = 0; reset < kResets; ++reset) {
    const UniqueFd hosts[] = {ConnectToListener(), ConnectToListener(), ConnectToListener()};
    for (const UniqueFd& host : hosts) Say(host, "CONNECT 5000\n");
    while (Counter("connections") < (reset + 1) * std::size(hosts)) Barrier();
    ASSERT_TRUE(machine_.Activate(*device_, kCommonFeatures).has_value());
  }
  Activate();

  const Stream stream = Connect();
  Say(stream.host, "again");
  EXPECT_EQ(Receive(VIRTIO_VSOCK_OP_RW).payload, "again");
}

// Want of descriptors.

TEST_F(VsockTest, WhoCouldNotBeAcceptedIsAfterADriverReset) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs descriptors of its own";
  Activate();
  const Stream old = Connect();
  const UniqueFd waiting(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const NoMoreDescriptors none;
  ASSERT_NO_FATAL_FAILURE(WaitInVain(waiting));

  Activate();
  for (int i = 0; i < 2; ++i) Barrier();

  EXPECT_EQ(Counter("connections"), 2u);
}

TEST_F(VsockTest, WhoCouldNotBeAcceptedIsAfterACallerThatIsRefused) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs descriptors of its own";
  Activate();
  UniqueFd silent = ConnectToListener();
  for (int i = 0; i < 2; ++i) Barrier();
  const UniqueFd waiting(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const NoMoreDescriptors none;
  ASSERT_NO_FATAL_FAILURE(WaitInVain(waiting));

  Say(silent, "nonsense\n");
  for (int i = 0; i < 3; ++i) Barrier();

  EXPECT_EQ(Counter("connections"), 1u);
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
