// Records of the guard's ring, with any bytes in them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "security/guard/event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto event = hmvm::DecodeGuardEvent(std::as_bytes(std::span(data, size)));
  if (!event.has_value()) return 0;
  const std::string words = event->Describe();
  if (std::ranges::any_of(words, [](char c) { return c < 0x20 || c > 0x7e; })) std::abort();
  return 0;
}
