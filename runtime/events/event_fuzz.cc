// A line of the event log is a file's bytes: any of them decode to an event that encodes and decodes to
// itself, or to nothing.
#include <cstdint>
#include <cstdlib>

#include "runtime/events/event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto event = hmvm::DecodeEvent({reinterpret_cast<const char*>(data), size});
  if (event.has_value() && hmvm::DecodeEvent(hmvm::EncodeEvent(*event)) != event) std::abort();
  return 0;
}
