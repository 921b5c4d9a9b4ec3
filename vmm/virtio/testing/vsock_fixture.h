// Tests of the vsock device: the device on a loop of its own, the guest's driver, and the host's programs.
#pragma once

#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/event_loop.h"
#include "base/file.h"
#include "vmm/virtio/testing/fake_driver.h"
#include "vmm/virtio/vsock.h"
#include "vmm/virtio/vsock_connection.h"

namespace hmvm {

inline constexpr uint64_t kCid = 3;
inline constexpr uint32_t kRxBufferBytes = 4096 + sizeof(virtio_vsock_hdr);
inline constexpr uint16_t kRxBuffers = 128;
inline constexpr uint32_t kLargeCredit = 1 << 20;

struct Packet {
  virtio_vsock_hdr header;
  std::string payload;
};

inline sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

inline UniqueFd Listen(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = Address(path);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd.get(), 512), 0);
  return fd;
}

inline void Say(const UniqueFd& fd, std::string_view text) {
  ASSERT_TRUE(WriteAll(fd.get(), text).has_value());
}

inline std::string Hear(const UniqueFd& fd, size_t bytes) {
  std::string text(bytes, '\0');
  const auto got = ReadFull(fd.get(), std::as_writable_bytes(std::span(text)));
  text.resize(got.value_or(0));
  return text;
}

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

}  // namespace hmvm
