// Memory that the host adds to the guest after its boot (virtio-mem), as far as it concerns the first
// process.
#pragma once

#include <cstdint>
#include <functional>

#include "base/event_loop.h"
#include "base/result.h"

namespace hmvm::agent {

// The kernel's driver plugs it by itself. This waits for that, and then has the limits that the kernel has
// made of the memory at its boot grow with it.
class AddedMemory {
 public:
  // At boot.
  explicit AddedMemory(EventLoop& loop);

  // `done` is called, at once or later, when the guest has `bytes` more than at its boot.
  Result<> Await(uint64_t bytes, std::function<void(Result<>)> done);

 private:
  Result<> OnEvent();
  Result<> RaiseLimits() const;

  EventLoop& loop_;
  const uint64_t booted_bytes_;
  uint64_t wanted_bytes_ = 0;
  std::function<void(Result<>)> done_;
  UniqueFd events_;
  Watch watch_;
};

}  // namespace hmvm::agent
