// What the driver has given to the device changes while the device reads it: it must use what it has checked,
// and nothing that comes after.
#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

constexpr unsigned kRounds = 1000;
constexpr int kYields = 3;

struct Change {
  uint64_t address;
  uint32_t bytes;
  uint16_t flags;
  uint16_t next;
};
constexpr Change kBad[] = {
    {kRamEnd, 4096, kWrite, 0},        {~0ULL - 4095, 8192, kNext, 1},  {kDevices, ~0U, kWrite, 0},
    {kPlatformStart, 4096, kWrite, 0}, {0, ~0U, kWrite | kNext, 65535}, {kScratch, 0, kIndirect, 0},
    {1ULL << 63, 16, kIndirect, 0},    {kRamEnd - 1, 2, kWrite, 0},     {kScratch, 16, kNext, 0},
};
constexpr Change kGood[] = {
    {kScratch, 16, kNext, 1}, {kScratch + 4096, 512, kNext | kWrite, 2}, {kScratch + 8192, 1, kWrite, 0}};

volatile unsigned at_work;  // the device that has just been notified

}  // namespace

void ChangeRings(Dice& dice) {
  const Device device(at_work);
  for (unsigned queue = 0; queue < kMostQueues; ++queue) {
    Rings& rings = device.rings(queue);
    for (int i = 0; i < 200; ++i) {
      const uint64_t index = dice.Below(3);
      const bool in_table = dice.OneIn(2);
      auto* const descriptor = (in_table ? rings.table : rings.indirect) + index;
      volatile Descriptor& target = *descriptor;
      const Change& bad = kBad[dice.Below(sizeof(kBad) / sizeof(kBad[0]))];
      // One field after the other, so that the device meets half of each.
      target.address = bad.address;
      target.bytes = bad.bytes;
      target.flags = bad.flags;
      target.next = bad.next;
      const Change& good = kGood[index];
      target.next = good.next;
      target.flags = good.flags;
      target.bytes = good.bytes;
      target.address = good.address;
    }
    // The request itself, the heads and the index.
    WriteAt<uint64_t>(kScratch, dice.Below(2) == 0 ? 0 : dice.Any());
    WriteAt<uint64_t>(kScratch + 8, dice.Below(2) == 0 ? 0 : dice.Any());
    volatile uint16_t& head = rings.available.ring[dice.Below(kQueueEntries)];
    head = static_cast<uint16_t>(dice.Any());
    head = 0;
    if (dice.OneIn(64)) rings.available.flags = static_cast<uint16_t>(dice.Any());
  }
}

void AttackWithRaces(Dice& dice) {
  for (unsigned round = 0; round < kRounds; ++round) {
    ForEachDevice([&](const Device& device) {
      if (round % 8 == 0 || device.NeedsReset()) {
        device.StartWell(kVersion1 | (dice.OneIn(2) ? kIndirectFeature : 0));
        for (unsigned queue = 0; queue < device.Queues(); ++queue) device.MakeGoodChain(queue);
      }
      for (unsigned queue = 0; queue < device.Queues(); ++queue) {
        const Rings& rings = device.rings(queue);
        const auto taken = static_cast<uint16_t>(rings.available.index - rings.used.index);
        for (int i = taken; i < kQueueEntries / 2; ++i) device.Offer(queue, 0);
        at_work = device.slot();
        device.Notify(queue);
        for (int i = 0; i < kYields; ++i) Yield();
      }
      if (dice.OneIn(16)) device.Reset();
    });
  }
}

}  // namespace attack
