// The driver's side of virtio over MMIO (virtio 1.2 §4.2) and of its split queues, as little as attacks need.
#pragma once

#include "tests/attack/guest/attacker.h"

namespace attack {

constexpr unsigned kMostDevices = 8;
constexpr unsigned kMostQueues = 3;
constexpr uint16_t kQueueEntries = 64;  // every device takes that many, but for vsock's event queue
constexpr uint16_t kEventQueueEntries = 16;
constexpr uint16_t kTableEntries = 1024;

constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
struct Descriptor {
  uint64_t address;
  uint32_t bytes;
  uint16_t flags;
  uint16_t next;
};

// The memory of one queue.
struct alignas(4096) Rings {
  Descriptor table[kTableEntries];
  Descriptor indirect[kTableEntries + 2];
  alignas(4096) struct {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[kTableEntries + 1];
  } available;
  alignas(4096) struct {
    uint16_t flags;
    uint16_t index;
    struct {
      uint32_t id;
      uint32_t bytes;
    } ring[kTableEntries];
    uint16_t event;
  } used;
};

struct Places {
  uint64_t table, available, used;
};

// Register offsets, virtio 1.2 §4.2.2.
enum Register : uint32_t {
  kMagic = 0x0,
  kId = 0x8,
  kDeviceFeatures = 0x10,
  kDeviceFeaturesSelect = 0x14,
  kDriverFeatures = 0x20,
  kDriverFeaturesSelect = 0x24,
  kQueueSelect = 0x30,
  kQueueMost = 0x34,
  kQueueSize = 0x38,
  kQueueReady = 0x44,
  kNotify = 0x50,
  kInterruptStatus = 0x60,
  kAcknowledge = 0x64,
  kStatus = 0x70,
  kTable = 0x80,
  kAvailable = 0x90,
  kUsed = 0xa0,
  kConfig = 0x100
};
enum Status : uint32_t { kSeen = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64 };
enum DeviceId : uint32_t { kBlk = 2, kConsole = 3, kRng = 4, kVsock = 19 };
constexpr uint64_t kVersion1 = 1ULL << 32;
constexpr uint64_t kIndirectFeature = 1ULL << 28;
constexpr uint64_t kEventFeature = 1ULL << 29;

class Device {
 public:
  explicit constexpr Device(unsigned slot) : slot_(slot), window_(kDevices + slot * kDeviceBytes) {}

  unsigned slot() const { return slot_; }
  uint32_t Read(uint32_t offset) const { return ReadAt<uint32_t>(window_ + offset); }
  void Write(uint32_t offset, uint32_t value) const { WriteAt<uint32_t>(window_ + offset, value); }
  uint64_t window() const { return window_; }

  bool Exists() const { return Read(kMagic) == 0x74726976; }
  uint32_t Id() const { return Read(kId); }
  unsigned Queues() const { return Id() == kVsock ? 3 : Id() == kConsole ? 2 : 1; }
  // The queue that the device reads as soon as it is notified.
  unsigned DriversQueue() const { return Id() == kVsock || Id() == kConsole ? 1 : 0; }
  Rings& rings(unsigned queue) const;

  void Reset() const { Write(kStatus, 0); }
  // false: the device does not take them.
  bool Negotiate(uint64_t features) const;
  void SetUpQueue(unsigned queue, uint32_t size, const Places& places, uint32_t ready) const;
  Places PlacesOf(unsigned queue) const;
  void Start() const { Write(kStatus, kSeen | kDriver | kFeaturesOk | kDriverOk); }
  // From reset to DRIVER_OK, with empty rings in all queues but `without`.
  void StartWell(uint64_t features, unsigned without = kMostQueues) const;

  void Offer(unsigned queue, uint16_t head) const;
  void Notify(unsigned queue) const { Write(kNotify, queue); }
  bool NeedsReset() const { return (Read(kStatus) & kNeedsReset) != 0; }
  // A chain that every device takes: 16 bytes to read, which are a disk's request for sector 0, 512 and 1 to
  // write.
  void MakeGoodChain(unsigned queue) const;
  // Starts the device anew; true: it gives a good chain back.
  bool Works() const;

 private:
  unsigned slot_;
  uint64_t window_;
};

// Waits for what the device thread does; false: it does not come.
template <typename Condition>
bool Becomes(Condition condition) {
  constexpr int kPatience = 400'000;  // status reads, which are exits
  for (int i = 0; i < kPatience; ++i) {
    if (condition()) return true;
  }
  return false;
}

template <typename Action>
void ForEachDevice(Action action) {
  for (unsigned slot = 0; slot < kMostDevices; ++slot) {
    const Device device(slot);
    if (device.Exists()) action(device);
  }
}

}  // namespace attack
