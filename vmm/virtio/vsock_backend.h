// Where the packets of a vsock device come from and go to.
#pragma once

#include <linux/virtio_vsock.h>
#include <sys/uio.h>

#include <optional>
#include <span>

#include "vmm/virtio/device.h"

namespace hmvm {

// The most payload one packet carries, in either direction.
inline constexpr uint32_t kMaxVsockPayloadBytes = 64 << 10;

// Called with the device's mutex held.
class VsockBackend {
 public:
  virtual ~VsockBackend() = default;

  // false: as many answers wait for the guest as may; take no more of its packets before some have gone.
  virtual bool AcceptsPackets() const = 0;
  // A packet from the guest, addressed to the host: `payload` holds header.len bytes, in guest memory. May
  // change `payload`. On the device thread.
  virtual void OnPacket(const virtio_vsock_hdr& header, std::span<iovec> payload) = 0;

  virtual bool HasPacket() const = 0;
  // The next packet for the guest, its payload written to the front of `room` (at least one byte, may be
  // changed). Nothing, though HasPacket() said yes, when a socket had less to say than it seemed.
  virtual std::optional<virtio_vsock_hdr> NextPacket(std::span<iovec> room) = 0;

  // The guest has forgotten all its connections. From any thread.
  virtual void Reset() = 0;

  virtual void Save(snapshot::VsockState* state) const = 0;
  // On a new backend.
  virtual Result<> Restore(const snapshot::VsockState& state) = 0;

  virtual CounterList Counters() const = 0;
};

}  // namespace hmvm
