#include "vmm/virtio/vsock_connection.h"

#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string>

#include "vmm/virtio/io_vectors.h"
#include "vmm/virtio/vsock_backend.h"

namespace hmvm {
namespace {

// The guest hears of its credit when this much has come free since it last did: before it can run dry, and
// not with every packet.
constexpr uint32_t kCreditStepBytes = VsockConnection::kBufferBytes / 4;

// Not sendmsg(2) and recvmsg(2): those can give a descriptor away, or take one, and no policy sees whether
// they do (security/syscall_rules).
ssize_t Send(int fd, std::span<iovec> vectors) {
  ssize_t sent;
  do {
    sent = ::writev(fd, vectors.data(), static_cast<int>(vectors.size()));
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t Receive(int fd, std::span<iovec> vectors) {
  ssize_t received;
  do {
    received = ::readv(fd, vectors.data(), static_cast<int>(vectors.size()));
  } while (received < 0 && errno == EINTR);
  return received;
}

// Closing a UNIX socket with bytes unread would end the peer's stream with ECONNRESET, not with its end.
// After SHUT_RD no more can come, so this is bounded by the socket's buffer.
void DiscardUnread(int fd) {
  std::array<std::byte, 16 << 10> bytes;
  iovec vector = {bytes.data(), bytes.size()};
  while (Receive(fd, std::span(&vector, 1)) > 0) {
  }
}

}  // namespace

VsockConnection::VsockConnection(Origin origin, uint64_t guest_cid, VsockPorts ports, UniqueFd socket)
    : guest_cid_(guest_cid),
      ports_(ports),
      socket_(std::move(socket)),
      state_(origin == Origin::kHost ? State::kConnecting : State::kEstablished),
      send_request_(origin == Origin::kHost),
      send_response_(origin == Origin::kGuest) {}

Result<std::unique_ptr<VsockConnection>> VsockConnection::Restore(const snapshot::VsockConnectionState& state,
                                                                  uint64_t guest_cid, UniqueFd socket) {
  if (state.backlog().size() > kBufferBytes) return Error{EINVAL, "more bytes than a vsock connection holds"};
  if (state.guest_ended() && state.guest_reads_no_more()) {
    return Error{EINVAL, "vsock connection that has ended"};
  }
  const VsockPorts ports = {.host = state.host_port(), .guest = state.guest_port()};
  auto connection = std::make_unique<VsockConnection>(Origin::kGuest, guest_cid, ports, std::move(socket));
  connection->send_response_ = state.send_response();
  connection->send_credit_update_ = !state.send_response();  // which the guest may have missed
  connection->guest_ended_ = state.guest_ended();
  connection->guest_reads_no_more_ = state.guest_reads_no_more();
  if (state.guest_reads_no_more()) ::shutdown(connection->fd(), SHUT_RD);
  connection->sent_bytes_ = state.sent_bytes();
  connection->guest_forwarded_ = state.guest_forwarded();
  connection->guest_buffer_ = state.guest_buffer();
  connection->forwarded_bytes_ = state.forwarded_bytes();
  connection->backlog_.Append(std::as_bytes(std::span(state.backlog())));
  return connection;
}

snapshot::VsockConnectionState VsockConnection::Save() const {
  snapshot::VsockConnectionState state;
  state.set_host_port(ports_.host);
  state.set_guest_port(ports_.guest);
  state.set_send_response(send_response_);
  state.set_guest_ended(guest_ended_);
  state.set_guest_reads_no_more(guest_reads_no_more_);
  state.set_sent_bytes(sent_bytes_);
  state.set_guest_forwarded(guest_forwarded_);
  state.set_guest_buffer(guest_buffer_);
  state.set_forwarded_bytes(forwarded_bytes_);
  for (const iovec& part : backlog_.Parts()) {
    state.mutable_backlog()->append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  return state;
}

void VsockConnection::OnSocketEvents(uint32_t events) {
  if (!socket_.valid()) return;
  readable_ = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    if (state_ == State::kConnecting) {
      // The guest need not hear of a request that was never sent.
      if (send_request_) gone_ = true;
      return Abort();
    }
    // The peer has closed, or shut down both ways: what it wrote before can still be read, nothing be
    // written.
    return OnHostReaderGone();
  }
  Flush();
}

void VsockConnection::OnPacket(const virtio_vsock_hdr& header, std::span<iovec> payload) {
  if (header.op == VIRTIO_VSOCK_OP_RST) {
    gone_ = true;
    // What the guest had sent is the host's all the same; Flush() goes on until it is drained.
    return;
  }
  if (state_ == State::kResetting) return;
  guest_buffer_ = header.buf_alloc;
  guest_forwarded_ = header.fwd_cnt;
  if (Credit() > 0) credit_requested_ = false;
  if (state_ == State::kConnecting) return header.op == VIRTIO_VSOCK_OP_RESPONSE ? OnResponse() : Abort();
  switch (header.op) {
    case VIRTIO_VSOCK_OP_RW:
      return OnData(payload);
    case VIRTIO_VSOCK_OP_SHUTDOWN:
      return OnShutdown(header.flags);
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
      return;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
      send_credit_update_ = true;
      return;
    default:
      return Abort();
  }
}

void VsockConnection::OnResponse() {
  state_ = State::kEstablished;
  std::string answer = "OK " + std::to_string(ports_.host) + "\n";
  iovec vector = {answer.data(), answer.size()};
  // Nothing was written to this socket before: a peer that has no room for a line will not get better.
  if (Send(socket_.get(), std::span(&vector, 1)) != static_cast<ssize_t>(answer.size())) Abort();
}

void VsockConnection::OnData(std::span<iovec> payload) {
  const uint64_t bytes = TotalBytes(payload);
  // More than its credit, or after its own end: not a driver we can keep a stream with.
  if (guest_ended_ || bytes > backlog_.free()) return Abort();
  if (host_reads_no_more_) return OnForwarded(bytes);
  if (backlog_.empty() && bytes > 0) {
    const ssize_t sent = Send(socket_.get(), payload);
    if (sent < 0 && errno != EAGAIN) {
      OnForwarded(bytes);
      return OnHostReaderGone();
    }
    if (sent > 0) {
      OnForwarded(static_cast<uint64_t>(sent));
      payload = TrimFront(payload, static_cast<uint64_t>(sent));
    }
  }
  for (const iovec& part : payload)
    backlog_.Append({static_cast<const std::byte*>(part.iov_base), part.iov_len});
}

void VsockConnection::OnShutdown(uint32_t flags) {
  if ((flags & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) {
    guest_ended_ = true;
    Flush();
  }
  if ((flags & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0 && !guest_reads_no_more_) {
    guest_reads_no_more_ = true;
    ::shutdown(socket_.get(), SHUT_RD);  // the host's writer hears EPIPE
    DiscardUnread(socket_.get());
  }
  // §5.10.6.6: RST confirms that both directions are shut down.
  if (guest_ended_ && guest_reads_no_more_) state_ = State::kResetting;
}

// Moves the backlog on; when it is empty, so is our promise to the host.
void VsockConnection::Flush() {
  while (!backlog_.empty()) {
    std::array<iovec, 2> parts = backlog_.Parts();
    const ssize_t sent = Send(socket_.get(), parts);
    if (sent < 0 && errno == EAGAIN) return;  // an event will tell
    if (sent < 0) return OnHostReaderGone();
    backlog_.Consume(static_cast<size_t>(sent));
    OnForwarded(static_cast<uint64_t>(sent));
  }
  if (guest_ended_ && !write_side_shut_) {
    write_side_shut_ = true;
    ::shutdown(socket_.get(), SHUT_WR);
  }
}

void VsockConnection::OnForwarded(uint64_t bytes) {
  forwarded_bytes_ += static_cast<uint32_t>(bytes);
  if (forwarded_bytes_ - forwarded_told_ >= kCreditStepBytes) send_credit_update_ = true;
}

void VsockConnection::OnHostReaderGone() {
  if (host_reads_no_more_) return;
  host_reads_no_more_ = true;
  shutdown_ |= VIRTIO_VSOCK_SHUTDOWN_RCV;
  OnForwarded(backlog_.size());
  backlog_.Clear();
}

// Free-running counters of the guest's: whatever it says, the result is at most what it says it has.
uint32_t VsockConnection::Credit() const {
  const uint32_t unread = sent_bytes_ - guest_forwarded_;
  return unread < guest_buffer_ ? guest_buffer_ - unread : 0;
}

void VsockConnection::Abort() {
  state_ = State::kResetting;
  watch_ = Watch();
  socket_.reset();
  backlog_.Clear();
}

bool VsockConnection::HasPacket() const {
  if (gone_) return false;
  if (state_ == State::kResetting || send_request_ || send_response_ || send_credit_update_ ||
      send_credit_request_ || UntoldShutdown() != 0) {
    return true;
  }
  return MayRead() && (Credit() > 0 || !credit_requested_);
}

std::optional<virtio_vsock_hdr> VsockConnection::NextPacket(std::span<iovec> room) {
  if (gone_) return std::nullopt;
  if (state_ == State::kResetting) {
    gone_ = true;
    return Header(VIRTIO_VSOCK_OP_RST);
  }
  if (std::exchange(send_request_, false)) return Header(VIRTIO_VSOCK_OP_REQUEST);
  if (std::exchange(send_response_, false)) return Header(VIRTIO_VSOCK_OP_RESPONSE);
  if (MayRead() && Credit() > 0) {
    if (const auto data = ReadSocket(room)) return data;
  }
  if (MayRead() && Credit() == 0 && !credit_requested_) {
    credit_requested_ = true;
    send_credit_request_ = true;
  }
  if (std::exchange(send_credit_request_, false)) return Header(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  // All that was read has gone before, so the guest sees the end where it is.
  if (const uint32_t untold = UntoldShutdown(); untold != 0) {
    virtio_vsock_hdr header = Header(VIRTIO_VSOCK_OP_SHUTDOWN);
    shutdown_told_ |= untold;
    header.flags = shutdown_told_;
    return header;
  }
  if (send_credit_update_) return Header(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  return std::nullopt;
}

std::optional<virtio_vsock_hdr> VsockConnection::ReadSocket(std::span<iovec> room) {
  const ssize_t received = Receive(socket_.get(), KeepFront(room, std::min(Credit(), kMaxVsockPayloadBytes)));
  if (received > 0) {
    virtio_vsock_hdr header = Header(VIRTIO_VSOCK_OP_RW);
    header.len = static_cast<uint32_t>(received);
    sent_bytes_ += static_cast<uint32_t>(received);
    return header;
  }
  if (received < 0 && errno == EAGAIN) {
    readable_ = false;  // an event will tell
    return std::nullopt;
  }
  if (received < 0) OnHostReaderGone();  // ECONNRESET: closed with bytes of ours unread
  host_ended_ = true;
  shutdown_ |= VIRTIO_VSOCK_SHUTDOWN_SEND;
  return std::nullopt;
}

// Every packet carries our credit (§5.10.6.3), so none has to follow for it alone.
virtio_vsock_hdr VsockConnection::Header(uint16_t operation) {
  send_credit_update_ = false;
  forwarded_told_ = forwarded_bytes_;
  return {.src_cid = VMADDR_CID_HOST,
          .dst_cid = guest_cid_,
          .src_port = ports_.host,
          .dst_port = ports_.guest,
          .len = 0,
          .type = VIRTIO_VSOCK_TYPE_STREAM,
          .op = operation,
          .flags = 0,
          .buf_alloc = kBufferBytes,
          .fwd_cnt = forwarded_bytes_};
}

}  // namespace hmvm
