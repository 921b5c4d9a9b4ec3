// As many interrupts and notifications as there can be.
#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

constexpr unsigned kSteps = kRing3 ? 60'000 : 2'000;

unsigned steps;
Device busy[kMostDevices] = {Device(0), Device(1), Device(2), Device(3),
                             Device(4), Device(5), Device(6), Device(7)};
unsigned busy_count;

void Notify(const Device& device, Dice& dice) {
  const unsigned queue = device.DriversQueue();
  if (dice.OneIn(2)) device.Offer(queue, 0);
  device.Notify(dice.OneIn(16) ? static_cast<unsigned>(dice.Below(8)) : queue);
}

}  // namespace

// Called anew after each interrupt that came through.
void AttackWithStorms(Dice& dice) {
  if (steps == 0) {
    ForEachDevice([](const Device& device) {
      device.StartWell(kVersion1);
      device.MakeGoodChain(device.DriversQueue());
      busy[busy_count++] = device;
    });
  }
  while (++steps < kSteps) {
    AllowInterrupts(0);
    const Device& device = busy[dice.Below(busy_count)];
    if (steps % 1024 == 0 || (steps % 64 == 0 && device.NeedsReset())) {
      device.StartWell(kVersion1);
      device.MakeGoodChain(device.DriversQueue());
    }
    if (dice.OneIn(4)) {
      Interrupt(0, dice.Any());
    } else {
      Notify(device, dice);
    }
  }
}

void StormOfSecondVcpu(Dice& dice) {
  if (busy_count == 0) return;
  AllowInterrupts(1);
  const Device& device = busy[dice.Below(busy_count)];
  if (dice.OneIn(2)) {
    Interrupt(1, dice.Any());
  } else {
    device.Notify(static_cast<unsigned>(dice.Below(4)));
  }
}

void LeaveQueuesDisabled() {
  ForEachDevice([](const Device& device) {
    device.Reset();
    device.Negotiate(kVersion1);
    device.Start();
    for (unsigned queue = 0; queue < device.Queues(); ++queue) device.Notify(queue);
  });
}

// To the first disk: 64 requests of nearly 4 GiB each, into the same RAM again and again.
void LeaveHugeRequests() {
  constexpr uint32_t kSegmentBytes = 4 << 20;
  constexpr uint16_t kSegments = 1000;
  const Device device(0);
  device.StartWell(kVersion1 | kIndirectFeature);
  device.MakeGoodChain(0);
  Rings& rings = device.rings(0);
  rings.indirect[0] = rings.table[0];
  for (uint16_t i = 1; i <= kSegments; ++i) {
    rings.indirect[i] = {kScratch + 4096, kSegmentBytes, kNext | kWrite, static_cast<uint16_t>(i + 1)};
  }
  rings.indirect[kSegments + 1] = {kScratch + 8192, 1, kWrite, 0};
  for (uint16_t head = 0; head < kQueueEntries; ++head) {
    rings.table[head] = {PhysicalOf(rings.indirect), 16U * (kSegments + 2), kIndirect, 0};
    device.Offer(0, head);
  }
  device.Notify(0);
}

}  // namespace attack
