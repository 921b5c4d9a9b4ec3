// Every register, every port, every page of the hole.
#include "tests/attack/guest/driver.h"

namespace attack {
namespace {

// What ends the machine: the exit port, for the values 0 to 2, and the keyboard controller's reset.
constexpr uint16_t kExitPort = 0x600;
constexpr uint8_t kReset = 0xfe;

template <typename T>
void Access(uint64_t at, Dice& dice) {
  static_cast<void>(ReadAt<T>(at));
  WriteAt<T>(at, static_cast<T>(dice.Any()));
}

void AccessAll(const Device& device, uint64_t end, Dice& dice) {
  for (uint64_t offset = 0; offset < end; ++offset) {
    Access<uint8_t>(device.window() + offset, dice);
    Access<uint16_t>(device.window() + offset, dice);
    Access<uint32_t>(device.window() + offset, dice);
    Access<uint64_t>(device.window() + offset, dice);
  }
}

void CheckDevices() {
  ForEachDevice([](const Device& device) {
    if (!device.Works()) Print("FAIL: a device does not work any more\n");
  });
}

}  // namespace

void AttackRegisters(Dice& dice) {
  constexpr uint64_t kRegistersEnd = kConfig + 0x40;
  ForEachDevice([&](const Device& device) {
    device.Reset();
    AccessAll(device, kDeviceBytes, dice);
    device.Reset();
    device.Negotiate(kVersion1);
    AccessAll(device, kRegistersEnd, dice);
    device.StartWell(kVersion1);
    AccessAll(device, kRegistersEnd, dice);
  });
  CheckDevices();
}

void AttackPorts(Dice& dice) {
  for (unsigned port = 0; port < 0x10000; ++port) {
    for (unsigned bytes = 1; bytes <= 4; bytes *= 2) {
      In(static_cast<uint16_t>(port), bytes);
      auto value = static_cast<uint32_t>(dice.Any());
      if ((port == kExitPort && (value & 0xff) < 3) || (value & 0xff) == kReset) value |= 0xff;
      Out(static_cast<uint16_t>(port), bytes, value);
    }
  }
  Print("\n");  // behind what went to the serial port
  CheckDevices();
}

void AttackHole(Dice& dice) {
  constexpr uint64_t kStep = 4096;
  for (uint64_t at = kRamEnd; at < kHoleStart; at += 1 << 20) Access<uint32_t>(at, dice);
  for (uint64_t at = kHoleStart; at < kHoleEnd; at += kStep) {
    const bool platform = at >= kPlatformStart && at < kPlatformEnd;
    const bool interrupt_controllers = at >= 0xfec00000 && at < 0xfef00000;  // KVM's own
    if (platform || interrupt_controllers) {
      static_cast<void>(ReadAt<uint32_t>(at));
    } else {
      Access<uint32_t>(at, dice);
    }
  }
  TouchFarAddresses();
  CheckDevices();
}

}  // namespace attack
