// virtio-vsock (virtio 1.2 §5.10), stream sockets; the host's side of a connection is a UNIX socket.
#pragma once

#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace hmvm {

class Vsock {
 public:
  struct Options {
    uint64_t guest_cid = 3;
    // A listening UNIX stream socket: "CONNECT <port>\n" -> "OK <host port>\n". May be none.
    UniqueFd listener;
    // The guest's connection to port P goes to the UNIX socket "<path_prefix>_P". Empty: it is refused.
    std::string path_prefix;
    // A connected stream socket for the guest's first connection to port 1024. May be none.
    UniqueFd agent;
  };
  // From the loop's thread or before the loop runs; destroy the device when the loop no longer runs.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);
};

}  // namespace hmvm
