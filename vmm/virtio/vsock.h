// virtio-vsock (virtio 1.2 §5.10), stream sockets; the host's side of a connection is a UNIX socket.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/device.h"
#include "vmm/virtio/vsock_backend.h"

namespace hmvm {

class Vsock final : public VirtioDevice {
 public:
  static constexpr uint16_t kRxQueue = 0;
  static constexpr uint16_t kTxQueue = 1;
  static constexpr uint16_t kEventQueue = 2;

  struct Options {
    uint64_t guest_cid = 3;
    // A listening UNIX stream socket: "CONNECT <port>\n" -> "OK <host port>\n". May be none.
    UniqueFd listener;
    // The guest's connection to port P goes to the UNIX socket "<path_prefix>_P". Empty: it is refused.
    std::string path_prefix;
    // A connected stream socket for the guest's first connection to port 1024. May be none.
    UniqueFd agent;
  };
  // The process ignores SIGPIPE: a peer that has gone is an error of the write.
  // From the loop's thread or before the loop runs; destroy the device when the loop no longer runs.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);

  std::string_view Name() const override { return "vsock"; }
  uint32_t DeviceId() const override { return VIRTIO_ID_VSOCK; }
  uint64_t OfferedFeatures() const override { return kCommonFeatures; }
  std::span<const uint16_t> QueueSizes() const override;
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override;
  void WriteConfig(uint64_t, std::span<const std::byte>) override {}
  Result<> Activate(Activation activation) override;
  void Reset() override;
  bool OnQueueNotify(uint16_t queue) override;
  std::vector<QueueState> QueueStates() const override;
  // The agent's channel goes on, on the new device's Options::agent; to all others the guest gets a RST.
  void Save(snapshot::VirtioState* state) const override;
  Result<> Restore(const snapshot::VirtioState& state) override;
  CounterList Counters() const override;

 private:
  explicit Vsock(uint64_t guest_cid) : guest_cid_(guest_cid) {}

  bool Service();
  Result<bool> TakePackets();
  void TakePacket();
  Result<bool> GivePackets();

  uint64_t guest_cid_;
  std::unique_ptr<VsockBackend> backend_;
  std::optional<Activation> active_;
  DescriptorChain tx_chain_;
  DescriptorChain rx_chain_;  // taken and not yet used, if rx_held_
  bool rx_held_ = false;
  std::vector<iovec> room_;

  uint64_t rx_packets_ = 0;
  uint64_t tx_packets_ = 0;
  uint64_t rx_bytes_ = 0;
  uint64_t tx_bytes_ = 0;
  uint64_t dropped_packets_ = 0;
};

}  // namespace hmvm
