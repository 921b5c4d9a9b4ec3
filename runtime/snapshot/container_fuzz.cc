// container.json comes with snapshots from anywhere.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/snapshot/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes as characters.
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)hmvm::DecodeSnapshotContainer(text).has_value();
  (void)hmvm::DecodeContainerRecord(text).has_value();  // the checksum keeps a fuzzer from it
  return 0;
}
