// The split virtqueue, the device's side (virtio 1.2 §2.7). All that a driver can write into a ring is
// checked here, and nowhere else: a device only meets chains whose every byte lies in guest RAM.
#pragma once

// The legacy part of the kernel's header is no C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device_writes.h"

namespace hmvm {

// The largest queue a device may ask for, and the most buffers one chain may have, those behind an indirect
// descriptor included. (§2.7.5.3.1 limits a chain to the queue's size. Linux, short of memory, makes the ring
// smaller than the device offered but not its chains.)
inline constexpr uint16_t kMaxQueueSize = 1024;

// The feature bits that Queue implements; every device offers them (bit mask).
inline constexpr uint64_t kQueueFeatures =
    1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC;

// Where a queue is and how far it has come: plain values, as the driver's registers or a snapshot give them.
struct QueueState {
  uint16_t size = 0;            // in descriptors, a power of two
  bool ready = false;           // false: the driver does not use this queue, the rest means nothing
  GuestAddress descriptors;     // descriptor area, §2.7.5
  GuestAddress available;       // driver area, §2.7.6
  GuestAddress used;            // device area, §2.7.8
  uint16_t next_available = 0;  // free-running index of the next chain to take
  uint16_t next_used = 0;       // free-running index of the next used element to write
  uint16_t signalled_used = 0;  // next_used when the driver was last looked at for a signal, §2.7.10
};

// One request: buffers the device may read, then buffers it may write. Reuse one object for many Pop()s and
// its memory stays. The bytes are the guest's and change at any time: copy out what you validate.
class DescriptorChain {
 public:
  uint16_t head() const { return head_; }
  // The device may consume these spans in place (TrimFront and TrimBack of io_vectors.h).
  std::span<iovec> readable() { return std::span(buffers_).first(readable_count_); }
  std::span<iovec> writable() { return std::span(buffers_).subspan(readable_count_); }
  uint64_t readable_bytes() const { return readable_bytes_; }
  uint64_t writable_bytes() const { return writable_bytes_; }  // both together are below 2^32

 private:
  friend class Queue;
  uint16_t head_ = 0;
  size_t readable_count_ = 0;
  uint64_t readable_bytes_ = 0;
  uint64_t writable_bytes_ = 0;
  std::vector<iovec> buffers_;
};

// One virtqueue. Not thread-safe: the transport's lock covers it. Guest memory must outlive it.
class Queue {
 public:
  // A queue that the driver left disabled: Pop() finds nothing in it, and its size is 0.
  Queue() = default;
  // `features` are the negotiated ones. EINVAL for a size or an alignment that §2.7 forbids, EFAULT for a
  // ring that is not in RAM. A state with ready == false makes a disabled queue.
  static Result<Queue> Create(const GuestMemory& memory, const QueueState& state, uint64_t features);

  Queue(Queue&&) noexcept = default;
  Queue& operator=(Queue&&) noexcept = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  bool ready() const { return memory_ != nullptr; }
  uint16_t size() const { return state_.size; }
  const QueueState& state() const { return state_; }

  // Takes the next chain the driver made available into `chain`. false: there is none, and from now on the
  // driver will notify. An error means a broken ring: the device must ask for a reset
  // (Interrupt::SetNeedsReset), and the queue gives nothing any more. Every chain taken must go back by
  // PushUsed.
  Result<bool> Pop(DescriptorChain& chain);

  // Returns the chain `head` with `written_bytes` written to the front of its writable buffers.
  void PushUsed(uint16_t head, uint32_t written_bytes);

  // After one or more PushUsed: whether the driver wants a used buffer notification for them. Once per batch.
  bool ShouldSignal();

 private:
  std::byte* AvailableEntry(uint16_t index) const;
  std::byte* UsedEntry(uint16_t index) const;
  std::byte* UsedEvent() const;
  std::byte* AvailableEvent() const;

  Result<> RefreshAvailable();
  void EnableNotifications();
  void SuppressNotifications();
  Result<> Walk(uint16_t head, DescriptorChain& chain);
  Result<> AddBuffer(const vring_desc& descriptor, DescriptorChain& chain);
  Error Broken(std::string what);

  QueueState state_;
  const GuestMemory* memory_ = nullptr;
  DeviceWrites writes_;
  // The rings in host memory, their ranges and alignments checked once in Create.
  std::byte* descriptors_ = nullptr;  // vring_desc[size]
  std::byte* available_ = nullptr;    // flags, idx, uint16_t[size], used_event
  std::byte* used_ = nullptr;         // flags, idx, vring_used_elem[size], avail_event
  bool event_idx_ = false;
  bool indirect_ = false;
  bool broken_ = false;
  bool notifications_suppressed_ = false;  // without event_idx: VRING_USED_F_NO_NOTIFY is set
  uint16_t available_end_ = 0;             // the driver's idx as last read
};

}  // namespace hmvm
