// Two ways for the guest to end the machine through an I/O port.
//
// The exit port is ours: one byte written to port 0x600 says why the guest ends (ExitRequest's values). Our
// kernel patch uses it when it is told to by "hmvm_exit=0x600"; another kernel never touches it.
//
// The keyboard controller is the PC's: a kernel booted with "reboot=k" writes command 0xfe to port 0x64,
// which pulses the processor's reset line. Of the controller only that command and an idle status exist.
#pragma once

#include <functional>

#include "vmm/devices/bus.h"

namespace hmvm {

inline constexpr uint16_t kExitPort = 0x600;
inline constexpr uint16_t kKeyboardControllerPort = 0x64;

enum class ExitRequest : uint8_t { kPowerOff = 0, kReset = 1, kPanic = 2 };

// Called on the vCPU's thread that wrote; the write may still be followed by instructions of any vCPU.
using ExitHandler = std::function<void(ExitRequest)>;

class ExitPort : public BusDevice {
 public:
  explicit ExitPort(ExitHandler handler) : handler_(std::move(handler)) {}
  void Read(uint64_t offset, std::span<std::byte> data) override;
  // Other values than ExitRequest's are ignored.
  void Write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  const ExitHandler handler_;
};

class KeyboardController : public BusDevice {
 public:
  explicit KeyboardController(ExitHandler handler) : handler_(std::move(handler)) {}
  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  const ExitHandler handler_;
};

}  // namespace hmvm
