// virtio-console with a single port (virtio 1.2 §5.3).
#pragma once

#include <memory>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace hmvm {

class Console {
 public:
  struct Options {
    UniqueFd output;  // any kind of file; none: what the guest prints is dropped
    UniqueFd input;   // pipe, socket or terminal; none: the guest never reads anything
  };
  // From the loop's thread or before the loop runs; destroy the device when the loop no longer runs.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);
};

}  // namespace hmvm
