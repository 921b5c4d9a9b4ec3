// The door for hosts that want to reach a port of the guest: "CONNECT <port>\n" on a new connection.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace hmvm {

// Accepts connections of one listening UNIX stream socket and reads their first line, and no byte more: what
// follows belongs to the connection. A connection that says something else is closed. All calls on the loop's
// thread.
class VsockListener {
 public:
  // The guest's port, and the connection, which waits for its answer.
  using OnConnect = std::function<void(uint32_t port, UniqueFd connection)>;

  // `loop` must outlive the listener.
  static Result<std::unique_ptr<VsockListener>> Create(UniqueFd socket, EventLoop& loop,
                                                       OnConnect on_connect);

  // Accepts what could not be accepted for want of descriptors: to be called when one has become free.
  void Retry() {
    if (starved_) Accept();
  }

 private:
  struct Caller {
    UniqueFd fd;
    Watch watch;
  };

  VsockListener(UniqueFd socket, EventLoop& loop, OnConnect on_connect)
      : socket_(std::move(socket)), loop_(loop), on_connect_(std::move(on_connect)) {}

  void Accept();
  void OnReadable(Caller* caller);
  UniqueFd Release(Caller* caller);

  UniqueFd socket_;
  Watch watch_;
  EventLoop& loop_;
  OnConnect on_connect_;
  std::vector<std::unique_ptr<Caller>> callers_;  // have not said their line yet
  bool starved_ = false;
};

}  // namespace hmvm
