#include "vmm/devices/exit_port.h"

#include <algorithm>

namespace hmvm {

void ExitPort::Read(uint64_t, std::span<std::byte> data) { std::ranges::fill(data, std::byte{0}); }

void ExitPort::Write(uint64_t, std::span<const std::byte> data) {
  const auto value = std::to_integer<uint8_t>(data[0]);
  if (value <= static_cast<uint8_t>(ExitRequest::kPanic)) handler_(static_cast<ExitRequest>(value));
}

void KeyboardController::Read(uint64_t, std::span<std::byte> data) {
  // Input buffer empty: the driver need not wait before it writes a command.
  std::ranges::fill(data, std::byte{0});
}

void KeyboardController::Write(uint64_t, std::span<const std::byte> data) {
  constexpr std::byte kPulseReset{0xfe};
  if (data[0] == kPulseReset) handler_(ExitRequest::kReset);
}

}  // namespace hmvm
