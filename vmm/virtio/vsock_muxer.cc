#include "vmm/virtio/vsock_muxer.h"

#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>

#include "base/file.h"

namespace hmvm {
namespace {

// Answers to packets that belong to no connection, held at most.
constexpr size_t kMaxResets = 256;
constexpr uint32_t kFirstHostPort = 1u << 30;
constexpr uint32_t kLastHostPort = (1u << 31) - 1;

}  // namespace

void VsockMuxer::ReadyList::Push(VsockConnection* connection) {
  connection->queued = true;
  connection->next_queued = nullptr;
  (last_ == nullptr ? first_ : last_->next_queued) = connection;
  last_ = connection;
}

VsockConnection* VsockMuxer::ReadyList::Pop() {
  VsockConnection* connection = first_;
  first_ = connection->next_queued;
  if (first_ == nullptr) last_ = nullptr;
  connection->queued = false;
  return connection;
}

void VsockMuxer::ReadyList::Remove(VsockConnection* connection) {
  if (!connection->queued) return;
  connection->queued = false;
  VsockConnection* before = nullptr;
  for (VsockConnection* at = first_; at != connection; at = at->next_queued) before = at;
  (before == nullptr ? first_ : before->next_queued) = connection->next_queued;
  if (last_ == connection) last_ = before;
}

Result<std::unique_ptr<VsockBackend>> VsockMuxer::Create(Options options, EventLoop& loop) {
  // Before the machine's seal: nothing changes a descriptor's flags after it.
  if (options.agent.valid()) HMVM_TRY(SetNonBlocking(options.agent.get(), true));
  UniqueFd listener = std::move(options.listener);
  std::unique_ptr<VsockMuxer> muxer(new VsockMuxer(std::move(options), loop));
  if (listener.valid()) {
    HMVM_TRY_ASSIGN(muxer->listener_,
                    VsockListener::Create(std::move(listener), loop,
                                          [muxer = muxer.get()](uint32_t port, UniqueFd socket) {
                                            muxer->OnHostConnect(port, std::move(socket));
                                          }));
  }
  return muxer;
}

void VsockMuxer::Serve() {
  if (!options_.serve()) return;
  // More than one round: let the loop's other handlers have their turn first.
  loop_.Post([this] {
    std::lock_guard lock(*options_.mutex);
    Serve();
  });
}

void VsockMuxer::OnHostConnect(uint32_t guest_port, UniqueFd socket) {
  std::lock_guard lock(*options_.mutex);
  if (Add(std::make_unique<VsockConnection>(VsockConnection::Origin::kHost, options_.guest_cid,
                                            FreePorts(guest_port), std::move(socket))) == nullptr) {
    ++refused_;
    return;
  }
  Serve();
}

VsockPorts VsockMuxer::FreePorts(uint32_t guest_port) {
  VsockPorts ports;
  do {
    ports = {.host = next_host_port_, .guest = guest_port};
    next_host_port_ = next_host_port_ == kLastHostPort ? kFirstHostPort : next_host_port_ + 1;
  } while (connections_.contains(ports));
  return ports;
}

// nullptr when there can't be one more.
VsockConnection* VsockMuxer::Add(std::unique_ptr<VsockConnection> connection) {
  if (connections_.size() + draining_.size() >= kMaxConnections) return nullptr;
  // Edge-triggered: a connection keeps in mind what it may do until the socket says no, so that one that has
  // to wait for the guest costs nothing.
  auto watch = loop_.OnEvents(connection->fd(), EPOLLIN | EPOLLOUT | EPOLLET,
                              [this, connection = connection.get()](uint32_t events) -> Result<> {
                                OnSocketEvents(connection, events);
                                return {};
                              });
  if (!watch.has_value()) return nullptr;
  connection->SetWatch(std::move(*watch));
  VsockConnection* added = connection.get();
  connections_.emplace(added->ports(), std::move(connection));
  ++accepted_;
  Settle(added);
  return added;
}

void VsockMuxer::OnSocketEvents(VsockConnection* connection, uint32_t events) {
  std::lock_guard lock(*options_.mutex);
  if (connection->discarded) return;
  connection->OnSocketEvents(events);
  Settle(connection);
  Serve();
}

bool VsockMuxer::AcceptsPackets() const { return resets_.size() < kMaxResets; }

void VsockMuxer::OnPacket(const virtio_vsock_hdr& header, std::span<iovec> payload) {
  if (header.type != VIRTIO_VSOCK_TYPE_STREAM) return Refuse(header);
  const auto found = connections_.find({.host = header.dst_port, .guest = header.src_port});
  if (found != connections_.end()) {
    VsockConnection* connection = found->second.get();
    connection->OnPacket(header, payload);
    return Settle(connection);
  }
  if (header.op == VIRTIO_VSOCK_OP_REQUEST) return OnGuestConnect(header);
  Refuse(header);
}

void VsockMuxer::OnGuestConnect(const virtio_vsock_hdr& request) {
  const bool is_agent = request.dst_port == kAgentPort;
  UniqueFd socket = ConnectHost(request.dst_port);
  const VsockPorts ports{.host = request.dst_port, .guest = request.src_port};
  if (!socket.valid()) return Refuse(request);
  VsockConnection* connection = Add(std::make_unique<VsockConnection>(
      VsockConnection::Origin::kGuest, options_.guest_cid, ports, std::move(socket)));
  if (connection == nullptr) return Refuse(request);
  if (is_agent) agent_ = ports;
  // The request carries the guest's first credit.
  virtio_vsock_hdr credit = request;
  credit.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
  connection->OnPacket(credit, {});
}

UniqueFd VsockMuxer::ConnectHost(uint32_t port) {
  if (port == kAgentPort && options_.agent.valid()) return std::move(options_.agent);
  if (port == kAgentPort || options_.path_prefix.empty()) return UniqueFd();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = options_.path_prefix + "_" + std::to_string(port);
  if (path.size() >= sizeof(address.sun_path)) return UniqueFd();
  path.copy(address.sun_path, path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return UniqueFd();
  // A UNIX socket connects at once or, when the listener's queue is full, not at all.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0)
    return UniqueFd();
  return socket;
}

void VsockMuxer::Refuse(const virtio_vsock_hdr& header) {
  if (header.op == VIRTIO_VSOCK_OP_RST) return;  // no answer to an answer
  ++refused_;
  SendReset({.host = header.dst_port, .guest = header.src_port}, header.type);
}

void VsockMuxer::SendReset(VsockPorts ports, uint16_t type) {
  resets_.push_back({.src_cid = VMADDR_CID_HOST,
                     .dst_cid = options_.guest_cid,
                     .src_port = ports.host,
                     .dst_port = ports.guest,
                     .len = 0,
                     .type = type,
                     .op = VIRTIO_VSOCK_OP_RST,
                     .flags = 0,
                     .buf_alloc = 0,
                     .fwd_cnt = 0});
}

std::optional<virtio_vsock_hdr> VsockMuxer::NextPacket(std::span<iovec> room) {
  if (!resets_.empty()) {
    const virtio_vsock_hdr header = resets_.front();
    resets_.pop_front();
    return header;
  }
  while (!ready_.empty()) {
    VsockConnection* connection = ready_.Pop();
    const auto header = connection->NextPacket(room);
    Settle(connection);
    if (header) return header;
  }
  return std::nullopt;
}

void VsockMuxer::Settle(VsockConnection* connection) {
  if (connection->GoneForGuest()) {
    // Still in the table, or draining already.
    const auto found = connections_.find(connection->ports());
    const bool in_table = found != connections_.end() && found->second.get() == connection;
    if (in_table && !connection->Drained()) {
      ready_.Remove(connection);
      draining_.push_back(std::move(found->second));
      connections_.erase(found);
    } else if (connection->Drained()) {
      TakeOut(connection);
    }
    return;
  }
  if (!connection->queued && connection->HasPacket()) ready_.Push(connection);
}

void VsockMuxer::TakeOut(VsockConnection* connection) {
  ready_.Remove(connection);
  const auto found = connections_.find(connection->ports());
  if (found != connections_.end() && found->second.get() == connection) {
    connections_.erase(found);
  } else {
    std::erase_if(draining_, [connection](const auto& owned) { return owned.get() == connection; });
  }
  if (listener_ != nullptr) listener_->Retry();
}

void VsockMuxer::Reset() {
  ready_.Clear();
  resets_.clear();
  // Watches end on the loop's thread alone, where also the listener is: the connections go there, and nothing
  // of them stays here.
  std::vector<std::unique_ptr<VsockConnection>> dead = std::move(draining_);
  draining_.clear();
  for (auto& [ports, connection] : connections_) dead.push_back(std::move(connection));
  connections_.clear();
  for (const auto& connection : dead) connection->discarded = true;
  loop_.Post([this, dead = std::move(dead)]() mutable {
    dead.clear();
    if (listener_ != nullptr) listener_->Retry();
  });
}

void VsockMuxer::Save(snapshot::VsockState* state) const {
  state->set_next_host_port(next_host_port_);
  const auto add_reset = [state](const VsockPorts& ports, uint16_t type) {
    snapshot::VsockPeer* const peer = state->add_resets();
    peer->set_host_port(ports.host);
    peer->set_guest_port(ports.guest);
    peer->set_type(type);
  };
  for (const virtio_vsock_hdr& header : resets_) {
    add_reset({.host = header.src_port, .guest = header.dst_port}, header.type);
  }
  for (const auto& [ports, connection] : connections_) {
    if (agent_ == ports && connection->CanBeSaved()) {
      *state->mutable_agent() = connection->Save();
    } else if (!connection->GoneForGuest()) {
      add_reset(ports, VIRTIO_VSOCK_TYPE_STREAM);
    }
  }
}

Result<> VsockMuxer::Restore(const snapshot::VsockState& state) {
  if (static_cast<size_t>(state.resets_size()) > kMaxResets + kMaxConnections) {
    return Error{EINVAL, "more vsock connections than there can be"};
  }
  if (state.next_host_port() < kFirstHostPort || state.next_host_port() > kLastHostPort) {
    return Error{EINVAL, "vsock port outside its range"};
  }
  next_host_port_ = state.next_host_port();
  for (const snapshot::VsockPeer& peer : state.resets()) {
    SendReset({.host = peer.host_port(), .guest = peer.guest_port()}, static_cast<uint16_t>(peer.type()));
  }
  if (!state.has_agent()) return {};
  if (!options_.agent.valid()) {
    SendReset({.host = state.agent().host_port(), .guest = state.agent().guest_port()},
              VIRTIO_VSOCK_TYPE_STREAM);
    return {};
  }
  HMVM_TRY_ASSIGN(auto connection,
                  VsockConnection::Restore(state.agent(), options_.guest_cid, std::move(options_.agent)));
  const VsockConnection* added = Add(std::move(connection));
  if (added == nullptr) return Error{0, "the agent's socket can't be waited for"};
  agent_ = added->ports();
  return {};
}

CounterList VsockMuxer::Counters() const {
  return {{"connections", accepted_},
          {"open_connections", connections_.size()},
          {"draining_connections", draining_.size()},
          {"refused", refused_}};
}

}  // namespace hmvm
