// virtio-blk (virtio 1.2 §5.2): requests against one file or block device.
#pragma once

#include <linux/virtio_blk.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace hmvm {

class Blk {
 public:
  struct Options {
    std::string name;  // "blk0"
    UniqueFd file;     // a file or block device; its size, in whole sectors, is the disk's
    bool read_only = false;
    std::string serial;  // what GET_ID answers, at most VIRTIO_BLK_ID_BYTES
  };
  // From the loop's thread or before the loop runs; destroy the device when the loop no longer runs. EINVAL
  // for a file without a single sector.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);
};

}  // namespace hmvm
