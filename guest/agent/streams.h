#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// Brings the host's stream connections to the processes that wait for them. A connection says its id first
// (eight bytes, little endian); it and the process's claim may come in either order. Bounded: of connections
// that nobody has claimed the newest kMaxUnclaimed are kept.
class StreamRegistry {
 public:
  static constexpr size_t kMaxUnclaimed = 256;
  using Taker = std::function<void(UniqueFd)>;

  // `listener` is a listening stream socket, taken over.
  static Result<std::unique_ptr<StreamRegistry>> Create(EventLoop& loop, UniqueFd listener);

  // Calls `taker` with the stream's connection, now or when it comes. EEXIST: the id is claimed already.
  Result<> Claim(uint64_t id, Taker taker);
  // Takes a claim back; nothing happens if it has been served. The connection, should it still come, is
  // closed: a process may well end before its streams are there.
  void Cancel(uint64_t id);

  // A connection that comes with this id is closed, once.
  void Refuse(uint64_t id);
  // Forgets all claims, and closes all connections that nobody has claimed: they were of another life.
  void Forget();

  size_t unclaimed() const { return connections_.size(); }

 private:
  struct Connection {
    UniqueFd socket;
    Watch watch;      // while the id is read
    uint64_t id = 0;  // valid once id_bytes == sizeof(id)
    size_t id_bytes = 0;
  };
  using Position = std::list<Connection>::iterator;

  StreamRegistry(EventLoop& loop, UniqueFd listener) : loop_(loop), listener_(std::move(listener)) {}
  void Accept();
  void ReadId(Position connection);

  EventLoop& loop_;
  UniqueFd listener_;
  Watch watch_;
  std::list<Connection> connections_;  // oldest first
  std::map<uint64_t, Taker> claims_;
  std::deque<uint64_t>
      cancelled_;  // ids whose connections have not come yet, oldest first, at most kMaxUnclaimed
};

}  // namespace hmvm::agent
