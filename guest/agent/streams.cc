#include "guest/agent/streams.h"

#include <endian.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/file.h"

namespace hmvm::agent {

Result<std::unique_ptr<StreamRegistry>> StreamRegistry::Create(EventLoop& loop, UniqueFd listener) {
  HMVM_TRY(SetNonBlocking(listener.get(), true));
  std::unique_ptr<StreamRegistry> registry(new StreamRegistry(loop, std::move(listener)));
  auto accept = [raw = registry.get()]() -> Result<> {
    raw->Accept();
    return {};
  };
  HMVM_TRY_ASSIGN(registry->watch_, loop.OnReadable(registry->listener_.get(), accept));
  return registry;
}

Result<> StreamRegistry::Claim(uint64_t id, Taker taker) {
  const auto waiting = std::ranges::find_if(connections_, [id](const Connection& connection) {
    return connection.id_bytes == sizeof(id) && connection.id == id;
  });
  if (waiting != connections_.end()) {
    UniqueFd socket = std::move(waiting->socket);
    connections_.erase(waiting);
    taker(std::move(socket));
    return {};
  }
  if (!claims_.emplace(id, std::move(taker)).second) {
    return Error{EEXIST, "stream " + std::to_string(id)};
  }
  return {};
}

void StreamRegistry::Cancel(uint64_t id) {
  if (claims_.erase(id) != 0) Refuse(id);
}

void StreamRegistry::Refuse(uint64_t id) {
  cancelled_.push_back(id);
  if (cancelled_.size() > kMaxUnclaimed) cancelled_.pop_front();
}

void StreamRegistry::Forget() {
  connections_.clear();
  claims_.clear();
  cancelled_.clear();
}

void StreamRegistry::Accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return;  // the peer was quicker to leave
  const Position connection = connections_.insert(connections_.end(), Connection());
  connection->socket = std::move(socket);
  auto watch = loop_.OnReadable(connection->socket.get(), [this, connection]() -> Result<> {
    ReadId(connection);
    return {};
  });
  if (!watch.has_value()) {
    connections_.erase(connection);
    return;
  }
  connection->watch = std::move(*watch);
  if (connections_.size() > kMaxUnclaimed) connections_.pop_front();
}

void StreamRegistry::ReadId(Position connection) {
  // SAFETY: any bytes make a uint64_t, and id_bytes stays below its size.
  char* const target = reinterpret_cast<char*>(&connection->id) + connection->id_bytes;
  const ssize_t got =
      ::recv(connection->socket.get(), target, sizeof(connection->id) - connection->id_bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    connections_.erase(connection);
    return;
  }
  connection->id_bytes += static_cast<size_t>(got);
  if (connection->id_bytes < sizeof(connection->id)) return;
  connection->watch = Watch();
  connection->id = le64toh(connection->id);
  if (std::erase(cancelled_, connection->id) != 0) {
    connections_.erase(connection);
    return;
  }
  const auto claim = claims_.find(connection->id);
  if (claim == claims_.end()) return;
  const Taker taker = std::move(claim->second);
  UniqueFd socket = std::move(connection->socket);
  claims_.erase(claim);
  connections_.erase(connection);
  taker(std::move(socket));
}

}  // namespace hmvm::agent
