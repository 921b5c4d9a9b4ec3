// What a virtio device and its transport know of each other (virtio 1.2 §2).
#pragma once

#include <linux/virtio_ids.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/virtio/queue.h"

namespace hmvm {

// The transport's side of a device's interrupt. Thread-safe.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  virtual void SignalUsed() = 0;    // buffers were used: virtio 1.2 §2.3 "used buffer notification"
  virtual void SignalConfig() = 0;  // configuration space changed, or DEVICE_NEEDS_RESET was set
};

// Granted at DRIVER_OK and owned by the device until reset. The interrupt outlives the device.
struct Activation {
  std::vector<Queue> queues;     // one entry per QueueSizes(), disabled queues included
  uint64_t features = 0;         // bit mask that driver and device agreed on
  Interrupt* interrupt = nullptr;
};

// A device, the device's side of virtio. It knows its queues and its backend, not MMIO, KVM, epoll or threads. The
// transport calls it under one lock, from vCPU threads (configuration) and the device thread (queues).
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;
  virtual std::string_view Name() const = 0;                 // "blk0", for logs and counters
  virtual uint32_t DeviceId() const = 0;                     // VIRTIO_ID_*, virtio 1.2 §5
  virtual uint64_t OfferedFeatures() const = 0;              // bit mask, §2.2, VIRTIO_F_VERSION_1 included
  virtual std::span<const uint16_t> QueueSizes() const = 0;  // maximum size in descriptors, one entry per queue

  // Configuration space, §2.5. `offset` and the length are the driver's: bytes beyond the space read as zero and
  // are ignored when written.
  virtual void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const = 0;
  virtual void WriteConfig(uint64_t offset, std::span<const std::byte> bytes) = 0;

  virtual Result<> Activate(Activation activation) = 0;  // EBUSY when already active
  virtual void Reset() = 0;                              // idempotent; gives up queues, drops requests in flight
  virtual void OnQueueNotify(uint16_t queue) = 0;        // "available buffer notification"; may race a reset
};

}  // namespace hmvm
