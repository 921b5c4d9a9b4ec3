// What was encoded decodes to the same bytes; what was not encoded by us decodes to nothing or to something,
// but never crashes.
#include <cstdint>
#include <cstdlib>

#include "runtime/output/log_line.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::string encoded;
  hmvm::AppendLogLine(hmvm::OutputStream::kStdout, bytes, "now", encoded);
  const auto decoded = hmvm::DecodeLogLine(std::string_view(encoded).substr(0, encoded.size() - 1));
  if (!decoded.has_value() || decoded->bytes != bytes) std::abort();
  (void)hmvm::DecodeLogLine(bytes);
  return 0;
}
