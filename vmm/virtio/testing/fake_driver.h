// A driver for tests: writes real rings into guest memory, as a guest would, and bad ones as no guest should.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device.h"

namespace hmvm {

// Hands out guest memory, never to take it back.
class FakeHeap {
 public:
  explicit FakeHeap(const GuestMemory& memory) : memory_(&memory) {}
  GuestAddress Allocate(uint64_t bytes, uint64_t align = 16);
  const GuestMemory& memory() const { return *memory_; }

 private:
  const GuestMemory* memory_;
  uint64_t next_ = 0x1000;
};

// The driver's side of one split queue. Each method does one thing a driver does; nothing stops a test from
// doing the wrong one. With several threads, one alone drives a queue.
class FakeQueue {
 public:
  FakeQueue(FakeHeap& heap, uint16_t size, uint64_t features);

  const QueueState& state() const { return state_; }  // as a driver would program it
  Queue MakeDeviceQueue() const;

  void WriteDescriptor(uint16_t index, const vring_desc& descriptor);
  // Puts `head` into the available ring and publishes it.
  void MakeAvailable(uint16_t head);
  void SetAvailableIndex(uint16_t index);
  void SetAvailableFlags(uint16_t flags);
  void SetUsedEvent(uint16_t index);
  uint16_t UsedFlags() const;
  uint16_t AvailableEvent() const;
  uint16_t UsedIndex() const;

  struct Buffer {
    GuestAddress address;
    uint32_t bytes;
    bool device_writes = false;
  };
  // Makes a chain of `buffers` available; returns its head. Uses descriptors in turn and never waits for
  // them: keep fewer in flight than the queue has.
  uint16_t Add(std::span<const Buffer> buffers, bool indirect = false);

  // The next used element, if there is one.
  std::optional<vring_used_elem> TakeUsed();
  uint16_t taken() const { return used_index_; }

 private:
  FakeHeap* heap_;
  QueueState state_;
  uint64_t features_;
  uint16_t next_descriptor_ = 0;
  uint16_t available_index_ = 0;
  uint16_t used_index_ = 0;
};

// An Interrupt that counts. Read needs_reset with the device's mutex held.
class FakeInterrupt : public Interrupt {
 public:
  void SignalUsed() override {
    ++used;
    if (on_used) on_used();
  }
  void SignalConfig() override { ++config; }
  void SetNeedsReset(const Error& why) override { needs_reset.push_back(why.what); }

  std::atomic<int> used = 0;
  std::atomic<int> config = 0;
  std::vector<std::string> needs_reset;
  std::function<void()> on_used;
};

// Guest memory, queues for all of a device's, and the activation between them.
class FakeMachine {
 public:
  explicit FakeMachine(uint64_t memory_bytes = 16 << 20,
                       GuestMemory::Added added = {.bytes = 0, .region_bytes = 0})
      : memory(*GuestMemory::Create(memory_bytes, added)), heap(memory) {}

  // Resets the device and activates it on fresh rings with these features (kCommonFeatures for most).
  Result<> Activate(VirtioDevice& device, uint64_t features);

  // The same with queues that the driver left disabled.
  void ActivateDisabled(VirtioDevice& device);

  GuestAddress Place(std::span<const std::byte> bytes);
  GuestAddress Place(std::string_view text) { return Place(std::as_bytes(std::span(text))); }
  std::string Text(GuestAddress address, uint64_t bytes) const;

  GuestMemory memory;
  FakeHeap heap;
  std::vector<FakeQueue> queues;
  FakeInterrupt interrupt;
};

}  // namespace hmvm
