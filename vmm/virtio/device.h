// What a virtio device and its transport know of each other (virtio 1.2 §2).
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "vmm/snapshot/machine_state.pb.h"
#include "vmm/virtio/queue.h"

namespace hmvm {

// Names and values for Describe.
using CounterList = std::vector<std::pair<std::string, uint64_t>>;

// What every device offers besides its own features (bit mask).
inline constexpr uint64_t kCommonFeatures = kQueueFeatures | 1ull << VIRTIO_F_VERSION_1;

// The transport's side of a device: how it reaches the driver.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  virtual void
  SignalUsed() = 0;  // buffers were used: virtio 1.2 §2.3 "used buffer notification". Thread-safe
  virtual void SignalConfig() = 0;  // configuration space changed. Thread-safe
  // The device met something it can't go on from, a broken ring mostly: sets DEVICE_NEEDS_RESET (§2.1.2) and
  // tells the driver. The device hears no notification from then on until it was reset. With the device's
  // mutex held.
  virtual void SetNeedsReset(const Error& why) = 0;
};

// Granted at DRIVER_OK and owned by the device until reset. The interrupt outlives the device.
struct Activation {
  std::vector<Queue> queues;  // one entry per QueueSizes(), disabled queues included
  uint64_t features = 0;      // bit mask that driver and device agreed on
  Interrupt* interrupt = nullptr;
};

// A device, the device's side of virtio. It knows its queues and its backend, not MMIO, KVM or epoll.
//
// Threads: the transport holds mutex() around every call below. Configuration and life cycle come from vCPU
// threads, queue notifications from the device thread. A backend with events of its own (sockets,
// completions) handles them on the device thread and takes mutex() first.
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;
  virtual std::string_view Name() const = 0;     // "blk0", for logs and counters
  virtual uint32_t DeviceId() const = 0;         // VIRTIO_ID_*, virtio 1.2 §5
  virtual uint64_t OfferedFeatures() const = 0;  // bit mask, §2.2, kCommonFeatures included
  virtual std::span<const uint16_t> QueueSizes()
      const = 0;  // maximum size in descriptors, one entry per queue

  // Configuration space, §2.5. `offset` and the length are the driver's: bytes beyond the space read as zero
  // and are ignored when written.
  virtual void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const = 0;
  virtual void WriteConfig(uint64_t offset, std::span<const std::byte> bytes) = 0;

  virtual Result<> Activate(Activation activation) = 0;  // EBUSY when already active
  // Gives up the queues; when it returns, nothing of an earlier request touches guest memory any more.
  // Idempotent.
  virtual void Reset() = 0;
  // "Available buffer notification" (§2.3); may come when there is nothing, or after a reset. Does a bounded
  // amount of work; true: there is more to do, call again after the others had their turn.
  virtual bool OnQueueNotify(uint16_t queue) = 0;

  // For snapshots, while no vCPU runs and the device thread is held.
  //
  // Ends what is in flight outside the guest. The error says what does not end.
  virtual Result<> Drain() { return {}; }
  // How far each queue has come; none while inactive. A chain that the device holds counts as not yet taken.
  virtual std::vector<QueueState> QueueStates() const = 0;
  // What there is besides features and queues.
  virtual void Save(snapshot::VirtioState*) const {}
  // Goes on from there: on a new device, activated already if the saved one was. The state may have come from
  // anybody: it is checked as a driver's words are.
  virtual Result<> Restore(const snapshot::VirtioState&) { return {}; }

  virtual CounterList Counters() const = 0;

  std::mutex& mutex() const { return mutex_; }

 private:
  mutable std::mutex mutex_;
};

// QueueStates() of a device that holds no chain.
inline std::vector<QueueState> StatesOf(const std::optional<Activation>& active) {
  std::vector<QueueState> states;
  if (!active) return states;
  for (const Queue& queue : active->queues) states.push_back(queue.state());
  return states;
}

// ReadConfig for a device whose whole configuration space is the object `config`.
template <typename Config>
void ReadConfigFrom(const Config& config, uint64_t offset, std::span<std::byte> bytes) {
  const auto space = std::as_bytes(std::span(&config, 1));
  for (std::byte& byte : bytes) {
    byte = offset < space.size() ? space[offset] : std::byte{0};
    ++offset;
  }
}

}  // namespace hmvm
