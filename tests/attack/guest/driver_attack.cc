// A driver that does anything at any time, but for a while keeps near to the rules, so that devices are
// active and busy when it breaks them.
#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

constexpr unsigned kSteps = kRing3 ? 3000 : 300;

uint64_t Wild(Dice& dice) {
  switch (dice.Below(6)) {
    case 0:
      return dice.Any();
    case 1:
      return kHoleStart + dice.Below(kHoleEnd - kHoleStart);
    case 2:
      return kRamEnd - dice.Below(64);
    case 3:
      return ~dice.Below(8192);
    case 4:
      return dice.Below(64);
    default: {
      const uint64_t any = dice.Any() >> dice.Below(64);
      return any < kRamEnd ? any | kScratch : any;  // not where the attacker itself is
    }
  }
}

// RAM in which nothing is that the attacker itself needs.
uint64_t Scratch(Dice& dice) { return kScratch + dice.Below(kScratchBytes / 2); }

void Live(const Device& device, Dice& dice) {
  device.Reset();
  uint64_t features = kVersion1;
  if (dice.OneIn(2)) features |= kIndirectFeature;
  if (dice.OneIn(2)) features |= kEventFeature;
  if (dice.OneIn(16)) features = dice.Any();
  device.Negotiate(features);
  for (unsigned queue = 0; queue < device.Queues(); ++queue) {
    Rings& rings = device.rings(queue);
    rings.available.index = rings.used.index = 0;
    Places places = device.PlacesOf(queue);
    uint32_t size = queue == 2 ? kEventQueueEntries : kQueueEntries;
    if (dice.OneIn(32)) places.table = Wild(dice);
    if (dice.OneIn(32)) places.available = Wild(dice);
    if (dice.OneIn(32)) places.used = Wild(dice);
    if (dice.OneIn(32)) size = static_cast<uint32_t>(1 << dice.Below(17));
    if (dice.OneIn(64)) size = static_cast<uint32_t>(dice.Any());
    device.SetUpQueue(queue, size, places, dice.OneIn(16) ? 0 : 1);
  }
  device.Start();
}

// What devices read as the beginning of a request.
void WriteHeader(uint64_t at, uint32_t device, Dice& dice) {
  if (device == kBlk) {
    WriteAt<uint32_t>(
        at, dice.OneIn(8) ? static_cast<uint32_t>(dice.Any()) : static_cast<uint32_t>(dice.Below(14)));
    WriteAt<uint64_t>(at + 8, dice.OneIn(8) ? Wild(dice) : dice.Below(4096));
    return;
  }
  WriteAt<uint64_t>(at, dice.OneIn(16) ? dice.Any() : 3);
  WriteAt<uint64_t>(at + 8, dice.OneIn(16) ? dice.Any() : 2);
  WriteAt<uint32_t>(at + 16, static_cast<uint32_t>(dice.Below(4) + 5000));               // its port
  WriteAt<uint32_t>(at + 20, dice.OneIn(4) ? static_cast<uint32_t>(dice.Any()) : 1024);  // the host's
  WriteAt<uint32_t>(at + 24, static_cast<uint32_t>(dice.OneIn(8) ? dice.Any() : dice.Below(4096)));
  WriteAt<uint16_t>(at + 28, static_cast<uint16_t>(dice.OneIn(16) ? dice.Any() : 1));
  WriteAt<uint16_t>(at + 30, static_cast<uint16_t>(dice.Below(9)));
  WriteAt<uint32_t>(at + 32, static_cast<uint32_t>(dice.Any()));
  WriteAt<uint32_t>(at + 36, static_cast<uint32_t>(dice.Any()));
  WriteAt<uint32_t>(at + 40, static_cast<uint32_t>(dice.Any()));
}

Descriptor AnyDescriptor(bool writable, Dice& dice) {
  Descriptor descriptor = {Scratch(dice), static_cast<uint32_t>(1 + dice.Below(8192)), 0, 0};
  if (dice.OneIn(3)) descriptor.bytes = static_cast<uint32_t>(512 * (1 + dice.Below(64)));
  if (writable) descriptor.flags = kWrite;
  if (dice.OneIn(200)) descriptor.address = Wild(dice);
  if (dice.OneIn(200)) descriptor.bytes = static_cast<uint32_t>(Wild(dice));
  if (dice.OneIn(200)) descriptor.flags = static_cast<uint16_t>(dice.Any());
  return descriptor;
}

// A chain of a few descriptors from `head` on.
void MakeChain(const Device& device, unsigned queue, uint16_t head, Dice& dice) {
  Rings& rings = device.rings(queue);
  const bool indirect = dice.OneIn(4);
  Descriptor* const table = indirect ? rings.indirect : rings.table;
  const auto entries = static_cast<uint16_t>(indirect ? kTableEntries : kQueueEntries);
  const auto count = static_cast<uint16_t>(1 + dice.Below(dice.OneIn(16) ? entries : 5));
  const uint64_t readable = dice.Below(count + 1U);
  for (uint16_t i = 0; i < count; ++i) {
    const auto index = static_cast<uint16_t>(indirect ? i : (head + i) % entries);
    table[index] = AnyDescriptor(i >= readable, dice);
    if (i == 0 && readable > 0) {
      const uint64_t header = Scratch(dice) & ~7ULL;
      WriteHeader(header, device.Id(), dice);
      if (!dice.OneIn(32)) table[index].address = header;
    }
    if (i + 1 < count) {
      table[index].flags |= kNext;
      table[index].next = static_cast<uint16_t>(dice.OneIn(200) ? dice.Any()
                                                : indirect      ? index + 1
                                                                : (index + 1) % entries);
    }
  }
  if (!indirect) return;
  const uint32_t bytes = dice.OneIn(32) ? static_cast<uint32_t>(dice.Any()) : 16U * count;
  rings.table[head] = {PhysicalOf(rings.indirect), bytes, kIndirect, 0};
}

void Fill(const Device& device, Dice& dice) {
  const auto queue = static_cast<unsigned>(dice.Below(device.Queues()));
  const uint64_t chains = 1 + dice.Below(dice.OneIn(8) ? kQueueEntries : 4);
  for (uint64_t i = 0; i < chains; ++i) {
    const auto head = static_cast<uint16_t>(dice.Below(kQueueEntries));
    MakeChain(device, queue, head, dice);
    device.Offer(queue, static_cast<uint16_t>(dice.OneIn(100) ? dice.Any() : head));
  }
  if (dice.OneIn(64)) device.rings(queue).available.index = static_cast<uint16_t>(dice.Any());
  device.rings(queue).available.flags = static_cast<uint16_t>(dice.Below(3));
  device.Notify(queue);
}

void AnyAccess(const Device& device, Dice& dice) {
  const uint64_t at = device.window() + dice.Below(dice.OneIn(2) ? 0x110 : kDeviceBytes - 8);
  const uint64_t value = dice.OneIn(2) ? dice.Below(256) : dice.Any();
  switch (dice.Below(8)) {
    case 0:
      return WriteAt<uint8_t>(at, static_cast<uint8_t>(value));
    case 1:
      return WriteAt<uint16_t>(at, static_cast<uint16_t>(value));
    case 2:
      return WriteAt<uint64_t>(at, value);
    case 3:
      static_cast<void>(ReadAt<uint64_t>(at));
      return;
    default:
      return WriteAt<uint32_t>(at & ~3ULL, static_cast<uint32_t>(value));
  }
}

}  // namespace

void AttackAsDriver(Dice& dice) {
  ForEachDevice([&](const Device& device) { Live(device, dice); });
  for (unsigned step = 0; step < kSteps; ++step) {
    const Device device(static_cast<unsigned>(dice.Below(kMostDevices)));
    if (!device.Exists()) continue;
    if (device.NeedsReset() || dice.OneIn(8)) Live(device, dice);
    for (uint64_t i = dice.Below(8); i > 0; --i) Fill(device, dice);
    if (dice.OneIn(8)) AnyAccess(device, dice);
    if (dice.OneIn(16)) device.Reset();  // in the midst of it
    if (dice.OneIn(4)) device.Write(kAcknowledge, ~0U);
  }
}

}  // namespace attack
