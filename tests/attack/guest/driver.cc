#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

Rings all_rings[kMostDevices][kMostQueues];

void Clear(Rings& rings) {
  rings.available.flags = rings.available.index = 0;
  rings.used.flags = rings.used.index = 0;
}

}  // namespace

Rings& Device::rings(unsigned queue) const { return all_rings[slot_][queue]; }

bool Device::Negotiate(uint64_t features) const {
  Write(kStatus, kSeen);
  Write(kStatus, kSeen | kDriver);
  Write(kDriverFeaturesSelect, 0);
  Write(kDriverFeatures, static_cast<uint32_t>(features));
  Write(kDriverFeaturesSelect, 1);
  Write(kDriverFeatures, static_cast<uint32_t>(features >> 32));
  Write(kStatus, kSeen | kDriver | kFeaturesOk);
  return (Read(kStatus) & kFeaturesOk) != 0;
}

void Device::SetUpQueue(unsigned queue, uint32_t size, const Places& places, uint32_t ready) const {
  Write(kQueueSelect, queue);
  Write(kQueueSize, size);
  const auto write_address = [this](uint32_t offset, uint64_t address) {
    Write(offset, static_cast<uint32_t>(address));
    Write(offset + 4, static_cast<uint32_t>(address >> 32));
  };
  write_address(kTable, places.table);
  write_address(kAvailable, places.available);
  write_address(kUsed, places.used);
  Write(kQueueReady, ready);
}

Places Device::PlacesOf(unsigned queue) const {
  const Rings& rings = this->rings(queue);
  return {PhysicalOf(rings.table), PhysicalOf(&rings.available), PhysicalOf(&rings.used)};
}

void Device::StartWell(uint64_t features, unsigned without) const {
  Reset();
  Negotiate(features);
  const bool vsock = Id() == kVsock;
  for (unsigned queue = 0; queue < Queues(); ++queue) {
    if (queue == without) continue;
    Clear(rings(queue));
    SetUpQueue(queue, vsock && queue == 2 ? kEventQueueEntries : kQueueEntries, PlacesOf(queue), 1);
  }
  Start();
}

void Device::Offer(unsigned queue, uint16_t head) const {
  Rings& rings = this->rings(queue);
  rings.available.ring[rings.available.index % kQueueEntries] = head;
  // x86 keeps the order of stores, so the compiler alone has to.
  asm volatile("" : : : "memory");
  rings.available.index = static_cast<uint16_t>(rings.available.index + 1);
  asm volatile("" : : : "memory");
}

void Device::MakeGoodChain(unsigned queue) const {
  WriteAt<uint64_t>(kScratch, 0);
  WriteAt<uint64_t>(kScratch + 8, 0);
  Rings& rings = this->rings(queue);
  rings.table[0] = {kScratch, 16, kNext, 1};
  rings.table[1] = {kScratch + 4096, 512, kNext | kWrite, 2};
  rings.table[2] = {kScratch + 8192, 1, kWrite, 0};
}

bool Device::Works() const {
  const unsigned queue = DriversQueue();
  StartWell(kVersion1);
  MakeGoodChain(queue);
  Offer(queue, 0);
  Notify(queue);
  const volatile uint16_t& used = rings(queue).used.index;
  return Becomes([&] { return Read(kStatus) != 0 && used == 1; });
}

}  // namespace attack
