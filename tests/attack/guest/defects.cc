// Each thing that a driver can do wrong with a ring, by itself: the device must ask for a reset where the
// ring is broken, and answer where only a request is; and after a reset it works as if nothing had been.
#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

unsigned tried;

void Fail(const Device& device, const char* defect, const char* what) {
  Print("FAIL: device ");
  PrintNumber(device.slot());
  Print(": ");
  Print(defect);
  Print(": ");
  Print(what);
  Print("\n");
}

// Places and sizes that no queue has: found when the driver starts the device.
struct WrongQueue {
  const char* name;
  uint32_t size;
  void (*spoil)(Places&);
};
constexpr WrongQueue kWrongQueues[] = {
    {"size 0", 0, [](Places&) {}},
    {"size 3", 3, [](Places&) {}},
    {"size beyond the most", 0x8000, [](Places&) {}},
    {"size of more than 16 bits", 0x10040, [](Places&) {}},
    {"table that is not aligned", kQueueEntries, [](Places& at) { at.table += 8; }},
    {"available ring that is not aligned", kQueueEntries, [](Places& at) { at.available += 1; }},
    {"used ring that is not aligned", kQueueEntries, [](Places& at) { at.used += 2; }},
    {"table outside RAM", kQueueEntries, [](Places& at) { at.table = kRamEnd; }},
    {"table across the end of RAM", kQueueEntries, [](Places& at) { at.table = kRamEnd - 16; }},
    {"table that wraps", kQueueEntries, [](Places& at) { at.table = ~15ULL; }},
    {"available ring that wraps", kQueueEntries, [](Places& at) { at.available = ~1ULL; }},
    {"available ring across the end of RAM", kQueueEntries, [](Places& at) { at.available = kRamEnd - 4; }},
    {"used ring in the hole", kQueueEntries, [](Places& at) { at.used = kHoleStart; }},
    {"used ring in a device", kQueueEntries, [](Places& at) { at.used = kDevices; }},
    {"used ring in the platform's memory", kQueueEntries, [](Places& at) { at.used = kPlatformStart; }},
    {"used ring behind the hole", kQueueEntries, [](Places& at) { at.used = 1ULL << 32; }},
    {"used ring in the highest half", kQueueEntries, [](Places& at) { at.used = 1ULL << 63; }},
};

// Chains that break the ring: found when the device takes them.
struct WrongChain {
  const char* name;
  uint64_t features;
  void (*make)(Rings&);
};
void OfferHead(Rings& rings, uint16_t head) {
  rings.available.ring[0] = head;
  rings.available.index = 1;
}
void OfferIndirect(Rings& rings, uint64_t address, uint32_t bytes, uint16_t flags) {
  rings.table[0] = {address, bytes, flags, 1};
  OfferHead(rings, 0);
}
void OfferBuffer(Rings& rings, uint64_t address, uint32_t bytes) {
  rings.table[0] = {address, bytes, kWrite, 0};
  OfferHead(rings, 0);
}
constexpr WrongChain kWrongChains[] = {
    {"head beyond the table", 0, [](Rings& rings) { OfferHead(rings, kQueueEntries); }},
    {"head of 65535", 0, [](Rings& rings) { OfferHead(rings, 65535); }},
    {"descriptor that is its own next", 0,
     [](Rings& rings) {
       rings.table[0] = {kScratch, 16, kNext, 0};
       OfferHead(rings, 0);
     }},
    {"circle of all descriptors", 0,
     [](Rings& rings) {
       for (uint16_t i = 0; i < kQueueEntries; ++i) {
         rings.table[i] = {kScratch, 16, kNext, static_cast<uint16_t>((i + 1) % kQueueEntries)};
       }
       OfferHead(rings, 7);
     }},
    {"next beyond the table", 0,
     [](Rings& rings) {
       rings.table[0] = {kScratch, 16, kNext, kQueueEntries};
       OfferHead(rings, 0);
     }},
    {"buffer of no bytes", 0, [](Rings& rings) { OfferBuffer(rings, kScratch, 0); }},
    {"buffer outside RAM", 0, [](Rings& rings) { OfferBuffer(rings, kRamEnd, 4096); }},
    {"buffer across the end of RAM", 0, [](Rings& rings) { OfferBuffer(rings, kRamEnd - 1, 2); }},
    {"buffer of 4 GiB less one", 0, [](Rings& rings) { OfferBuffer(rings, 0, ~0U); }},
    {"buffer that wraps", 0, [](Rings& rings) { OfferBuffer(rings, ~0ULL - 4095, 8192); }},
    {"buffer at the last byte of all", 0, [](Rings& rings) { OfferBuffer(rings, ~0ULL, 1); }},
    {"buffer in a device", 0, [](Rings& rings) { OfferBuffer(rings, kDevices, 4096); }},
    {"buffer in the platform's memory", 0, [](Rings& rings) { OfferBuffer(rings, kPlatformStart, 4096); }},
    {"buffer behind the hole", 0, [](Rings& rings) { OfferBuffer(rings, 1ULL << 32, 4096); }},
    {"buffer to read behind one to write", 0,
     [](Rings& rings) {
       rings.table[0] = {kScratch, 16, kWrite | kNext, 1};
       rings.table[1] = {kScratch, 16, 0, 0};
       OfferHead(rings, 0);
     }},
    {"available index that jumps", 0, [](Rings& rings) { rings.available.index = kQueueEntries + 1; }},
    {"available index that runs backwards", 0, [](Rings& rings) { rings.available.index = 65535; }},
    {"indirect table without the feature", 0,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), 16, kIndirect); }},
    {"indirect table of no bytes", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), 0, kIndirect); }},
    {"indirect table of half a descriptor", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), 24, kIndirect); }},
    {"indirect table that is too long", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), 16 * 1025, kIndirect); }},
    {"indirect table of 4 GiB", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), ~15U, kIndirect); }},
    {"indirect table outside RAM", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, kRamEnd, 4096, kIndirect); }},
    {"indirect table that wraps", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, ~15ULL, 4096, kIndirect); }},
    {"indirect table with a next one", kIndirectFeature,
     [](Rings& rings) { OfferIndirect(rings, PhysicalOf(rings.indirect), 16, kIndirect | kNext); }},
    {"indirect table in an indirect table", kIndirectFeature,
     [](Rings& rings) {
       rings.indirect[0] = {PhysicalOf(rings.indirect), 16, kIndirect, 0};
       OfferIndirect(rings, PhysicalOf(rings.indirect), 16, kIndirect);
     }},
    {"circle in an indirect table", kIndirectFeature,
     [](Rings& rings) {
       for (uint16_t i = 0; i < 4; ++i) {
         rings.indirect[i] = {kScratch, 16, kNext, static_cast<uint16_t>((i + 1) % 4)};
       }
       OfferIndirect(rings, PhysicalOf(rings.indirect), 64, kIndirect);
     }},
    {"next beyond an indirect table", kIndirectFeature,
     [](Rings& rings) {
       rings.indirect[0] = {kScratch, 16, kNext, 1};
       OfferIndirect(rings, PhysicalOf(rings.indirect), 16, kIndirect);
     }},
    {"chain of more than 4 GiB", kIndirectFeature,
     [](Rings& rings) {
       for (uint16_t i = 0; i < kTableEntries; ++i) {
         rings.indirect[i] = {kScratch, 0x800000, kNext | kWrite, static_cast<uint16_t>(i + 1)};
       }
       rings.indirect[kTableEntries - 1].flags = kWrite;
       OfferIndirect(rings, PhysicalOf(rings.indirect), 16 * kTableEntries, kIndirect);
     }},
};

// Requests that make no sense on a ring that is in order: the device answers and goes on. Each writes its
// bytes to kScratch, of which a device reads `bytes`.
struct WrongRequest {
  uint32_t device;
  const char* name;
  uint32_t bytes;
  void (*write)();
};
void DiskRequest(uint32_t type, uint64_t sector) {
  WriteAt<uint32_t>(kScratch, type);
  WriteAt<uint64_t>(kScratch + 8, sector);
}
void VsockHeader(uint64_t from, uint64_t to, uint32_t bytes, uint16_t type, uint16_t operation) {
  WriteAt<uint64_t>(kScratch, from);
  WriteAt<uint64_t>(kScratch + 8, to);
  WriteAt<uint64_t>(kScratch + 16, 1024ULL << 32 | 77);  // ports
  WriteAt<uint32_t>(kScratch + 24, bytes);
  WriteAt<uint16_t>(kScratch + 28, type);
  WriteAt<uint16_t>(kScratch + 30, operation);
  WriteAt<uint32_t>(kScratch + 32, ~0U);
  WriteAt<uint64_t>(kScratch + 36, ~0ULL);
}
constexpr uint32_t kIn = 0, kOut = 1, kDiscard = 11, kWriteZeroes = 13;
constexpr uint64_t kGuest = 3, kHost = 2;
constexpr WrongRequest kWrongRequests[] = {
    {kBlk, "type that is none", 16, [] { DiskRequest(0xdead, 0); }},
    {kBlk, "sector beyond the end", 16, [] { DiskRequest(kIn, 1 << 20); }},
    {kBlk, "sector that wraps", 16, [] { DiskRequest(kIn, ~0ULL); }},
    {kBlk, "sector whose offset wraps", 16, [] { DiskRequest(kOut, 1ULL << 55); }},
    {kBlk, "header that is too short", 15, [] { DiskRequest(kIn, 0); }},
    {kBlk, "write of no bytes", 16, [] { DiskRequest(kOut, 0); }},
    {kBlk, "write of half a sector", 16 + 256, [] { DiskRequest(kOut, 0); }},
    {kBlk, "write beyond the end", 16 + 512, [] { DiskRequest(kOut, 1 << 20); }},
    {kBlk, "discard that wraps", 32,
     [] {
       DiskRequest(kDiscard, 0);
       WriteAt<uint64_t>(kScratch + 16, ~0ULL);
       WriteAt<uint64_t>(kScratch + 24, 8);
     }},
    {kBlk, "write-zeroes with unknown flags", 32,
     [] {
       DiskRequest(kWriteZeroes, 0);
       WriteAt<uint64_t>(kScratch + 16, 0);
       WriteAt<uint64_t>(kScratch + 24, ~0ULL << 32 | 8);
     }},
    {kBlk, "discard of two ranges", 48, [] { DiskRequest(kDiscard, 0); }},
    {kVsock, "header that is too short", 43, [] { VsockHeader(kGuest, kHost, 0, 1, 1); }},
    {kVsock, "more bytes than there are", 44, [] { VsockHeader(kGuest, kHost, 1, 1, 5); }},
    {kVsock, "4 GiB of bytes", 44, [] { VsockHeader(kGuest, kHost, ~0U, 1, 5); }},
    {kVsock, "packet from somebody else", 44, [] { VsockHeader(99, kHost, 0, 1, 1); }},
    {kVsock, "packet to somebody else", 44, [] { VsockHeader(kGuest, 99, 0, 1, 1); }},
    {kVsock, "type that is none", 44, [] { VsockHeader(kGuest, kHost, 0, 77, 1); }},
    {kVsock, "operation that is none", 44, [] { VsockHeader(kGuest, kHost, 0, 1, 77); }},
    {kVsock, "data for no connection", 44, [] { VsockHeader(kGuest, kHost, 0, 1, 5); }},
    {kConsole, "64 KiB of zeroes", 65536, [] {}},
    {kRng, "nothing to write", 16, [] {}},
};

void CheckRecovery(const Device& device, const char* defect) {
  ++tried;
  if (!device.Works()) Fail(device, defect, "after it the device does not work any more");
}

void TryQueues(const Device& device) {
  for (const WrongQueue& wrong : kWrongQueues) {
    for (unsigned queue = 0; queue < device.Queues(); ++queue) {
      device.Reset();
      device.Negotiate(kVersion1);
      Places places = device.PlacesOf(queue);
      wrong.spoil(places);
      device.SetUpQueue(queue, wrong.size, places, 1);
      device.Start();
      device.Notify(queue);
      if (!device.NeedsReset()) Fail(device, wrong.name, "is taken for a queue");
      CheckRecovery(device, wrong.name);
    }
  }
}

void TryChains(const Device& device) {
  const unsigned queue = device.DriversQueue();
  for (const WrongChain& wrong : kWrongChains) {
    device.StartWell(kVersion1 | wrong.features);
    wrong.make(device.rings(queue));
    device.Notify(queue);
    if (!Becomes([&] { return device.NeedsReset(); })) Fail(device, wrong.name, "is taken for a chain");
    CheckRecovery(device, wrong.name);
  }
}

void TryRequests(const Device& device) {
  const unsigned queue = device.DriversQueue();
  for (const WrongRequest& wrong : kWrongRequests) {
    if (wrong.device != device.Id()) continue;
    device.StartWell(kVersion1);
    Rings& rings = device.rings(queue);
    wrong.write();
    rings.table[0] = {kScratch, wrong.bytes, kNext, 1};
    rings.table[1] = {kScratch + 0x20000, 1, kWrite, 0};
    if (wrong.device == kRng) rings.table[0].flags = 0;
    device.Offer(queue, 0);
    device.Notify(queue);
    const volatile uint16_t& used = rings.used.index;
    if (!Becomes([&] { return device.Read(kStatus) != 0 && used == 1; })) {
      Fail(device, wrong.name, "is not answered");
    }
    if (device.NeedsReset()) Fail(device, wrong.name, "breaks the device");
    if (wrong.device == kBlk && ReadAt<uint8_t>(kScratch + 0x20000) == 0) {
      Fail(device, wrong.name, "succeeds");
    }
    CheckRecovery(device, wrong.name);
  }
}

void TryFeatures(const Device& device) {
  device.Reset();
  if (device.Negotiate(0)) Fail(device, "no version 1", "is agreed to");
  CheckRecovery(device, "no version 1");
  for (unsigned bit = 0; bit < 64; ++bit) {
    device.Reset();
    device.Write(kDeviceFeaturesSelect, bit / 32);
    if ((device.Read(kDeviceFeatures) >> bit % 32 & 1) != 0) continue;
    if (device.Negotiate(kVersion1 | 1ULL << bit))
      Fail(device, "feature that is not offered", "is agreed to");
  }
  CheckRecovery(device, "features that are not offered");
}

}  // namespace

void AttackWithDefects() {
  ForEachDevice([](const Device& device) {
    TryFeatures(device);
    TryQueues(device);
    TryChains(device);
    TryRequests(device);
  });
  Print("tried ");
  PrintNumber(tried);
  Print("\n");
}

}  // namespace attack
