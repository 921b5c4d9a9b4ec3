// All connections between the host's UNIX sockets and the guest's vsock ports.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/vsock_backend.h"
#include "vmm/virtio/vsock_connection.h"
#include "vmm/virtio/vsock_listener.h"

namespace hmvm {

// The port that the guest's agent finds the host at.
inline constexpr uint32_t kAgentPort = 1024;

class VsockMuxer final : public VsockBackend {
 public:
  static constexpr size_t kMaxConnections = 1024;

  struct Options {
    uint64_t guest_cid = 3;
    UniqueFd listener;  // as in Vsock::Options, as the next two
    std::string path_prefix;
    UniqueFd agent;
    std::mutex* mutex = nullptr;  // the device's; the muxer takes it in its own events
    // Moves packets between muxer and rings; true: there are more than one round's. Called with the mutex
    // held.
    std::function<bool()> serve;
  };
  static Result<std::unique_ptr<VsockBackend>> Create(Options options, EventLoop& loop);

  bool AcceptsPackets() const override;
  void OnPacket(const virtio_vsock_hdr& header, std::span<iovec> payload) override;
  bool HasPacket() const override { return !resets_.empty() || !ready_.empty(); }
  std::optional<virtio_vsock_hdr> NextPacket(std::span<iovec> room) override;
  void Reset() override;
  void Save(snapshot::VsockState* state) const override;
  Result<> Restore(const snapshot::VsockState& state) override;
  CounterList Counters() const override;

 private:
  // First in, first out, threaded through the connections: turns cost no allocation.
  class ReadyList {
   public:
    bool empty() const { return first_ == nullptr; }
    void Push(VsockConnection* connection);
    VsockConnection* Pop();
    void Remove(VsockConnection* connection);
    void Clear() { first_ = last_ = nullptr; }

   private:
    VsockConnection* first_ = nullptr;
    VsockConnection* last_ = nullptr;
  };

  VsockMuxer(Options options, EventLoop& loop) : options_(std::move(options)), loop_(loop) {}

  void Serve();
  void OnHostConnect(uint32_t guest_port, UniqueFd socket);
  void OnGuestConnect(const virtio_vsock_hdr& request);
  UniqueFd ConnectHost(uint32_t port);
  VsockConnection* Add(std::unique_ptr<VsockConnection> connection);
  void OnSocketEvents(VsockConnection* connection, uint32_t events);
  VsockPorts FreePorts(uint32_t guest_port);
  void Refuse(const virtio_vsock_hdr& header);
  void SendReset(VsockPorts ports, uint16_t type);
  // After anything happened to a connection: queues it for sending, or takes it out when it is done.
  void Settle(VsockConnection* connection);
  void TakeOut(VsockConnection* connection);

  Options options_;
  EventLoop& loop_;
  std::unique_ptr<VsockListener> listener_;

  std::map<VsockPorts, std::unique_ptr<VsockConnection>> connections_;
  // Gone for the guest, with bytes that the host has not read yet.
  std::vector<std::unique_ptr<VsockConnection>> draining_;
  ReadyList ready_;                      // have something for the guest; in turn
  std::deque<virtio_vsock_hdr> resets_;  // answers to packets of no connection, see AcceptsPackets
  std::optional<VsockPorts> agent_;      // of the connection that got Options::agent
  uint32_t next_host_port_ = 1u << 30;   // out of the way of ports that services use

  uint64_t accepted_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace hmvm
