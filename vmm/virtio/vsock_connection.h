// One stream connection between a UNIX socket of the host and a vsock socket of the guest (virtio 1.2
// §5.10.6).
#pragma once

#include <linux/virtio_vsock.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/snapshot/machine_state.pb.h"
#include "vmm/virtio/byte_ring.h"

namespace hmvm {

struct VsockPorts {
  uint32_t host = 0;
  uint32_t guest = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the comparison for a pointer's
  auto operator<=>(const VsockPorts&) const = default;
};

// What the guest sends goes straight to the socket; what the socket does not take at once waits in a buffer,
// whose size is all the credit that the guest has: a host that does not read stops the guest's writer. What
// the host sends stays in the socket until the guest has both credit and a buffer for it.
//
// Never blocks, and never waits by itself: the muxer tells it of packets and of socket events
// (edge-triggered), and asks for packets. Under the device's mutex.
class VsockConnection {
 public:
  static constexpr uint32_t kBufferBytes = 256 << 10;

  enum class Origin { kHost, kGuest };  // who asked for the connection

  VsockConnection(Origin origin, uint64_t guest_cid, VsockPorts ports, UniqueFd socket);
  // One that the guest had in an earlier life, on a new socket. EINVAL for a state that no connection has.
  static Result<std::unique_ptr<VsockConnection>> Restore(const snapshot::VsockConnectionState& state,
                                                          uint64_t guest_cid, UniqueFd socket);
  // false: it has ended, or is about to, on the host's side or both; a new socket could not go on with it.
  bool CanBeSaved() const { return state_ == State::kEstablished && !gone_ && shutdown_ == 0; }
  snapshot::VsockConnectionState Save() const;

  const VsockPorts& ports() const { return ports_; }
  int fd() const { return socket_.get(); }
  void SetWatch(Watch watch) { watch_ = std::move(watch); }

  void OnSocketEvents(uint32_t events);
  void OnPacket(const virtio_vsock_hdr& header, std::span<iovec> payload);

  bool HasPacket() const;
  // Nothing when the socket turns out to be empty.
  std::optional<virtio_vsock_hdr> NextPacket(std::span<iovec> room);

  // RST was sent or received: for the guest this connection is no more.
  bool GoneForGuest() const { return gone_; }
  // Nothing is left that the host could still read.
  bool Drained() const { return backlog_.empty() || !socket_.valid(); }

  // For the muxer's lists.
  bool queued = false;                     // waits for its turn to send a packet
  VsockConnection* next_queued = nullptr;  // behind it
  bool discarded = false;                  // no longer the muxer's: events are ignored

 private:
  enum class State { kConnecting, kEstablished, kResetting };

  virtio_vsock_hdr Header(uint16_t operation);
  void OnResponse();
  void OnData(std::span<iovec> payload);
  void OnShutdown(uint32_t flags);
  void Flush();
  void OnForwarded(uint64_t bytes);
  void OnHostReaderGone();
  std::optional<virtio_vsock_hdr> ReadSocket(std::span<iovec> room);
  uint32_t Credit() const;
  bool MayRead() const {
    return state_ == State::kEstablished && readable_ && !host_ended_ && !guest_reads_no_more_;
  }
  uint32_t UntoldShutdown() const { return state_ == State::kEstablished ? shutdown_ & ~shutdown_told_ : 0; }
  void Abort();

  uint64_t guest_cid_;
  VsockPorts ports_;
  UniqueFd socket_;
  Watch watch_;  // on socket_

  State state_;
  bool gone_ = false;
  bool send_request_ = false;
  bool send_response_ = false;
  bool send_credit_update_ = false;
  bool credit_requested_ = false;  // since the guest's credit ran out
  bool send_credit_request_ = false;

  // From host to guest.
  bool readable_ = true;  // until readv says EAGAIN
  bool host_ended_ = false;
  bool guest_reads_no_more_ = false;
  uint32_t sent_bytes_ = 0;       // runs free, as the next two: §5.10.6.3
  uint32_t guest_forwarded_ = 0;  // the guest's fwd_cnt
  uint32_t guest_buffer_ = 0;     // the guest's buf_alloc

  // From guest to host.
  ByteRing backlog_{kBufferBytes};
  bool guest_ended_ = false;
  bool host_reads_no_more_ = false;
  bool write_side_shut_ = false;
  uint32_t forwarded_bytes_ = 0;  // our fwd_cnt
  uint32_t forwarded_told_ = 0;

  uint32_t shutdown_ = 0;  // VIRTIO_VSOCK_SHUTDOWN_*: what our side will do no more
  uint32_t shutdown_told_ = 0;
};

}  // namespace hmvm
