// Connections that are there: their data, credit, and ends.
#include <sys/resource.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sanitizer.h"
#include "vmm/virtio/testing/vsock_fixture.h"
#include "vmm/virtio/vsock.h"

namespace hmvm {
namespace {

using ::testing::IsEmpty;

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

}  // namespace
}  // namespace hmvm
