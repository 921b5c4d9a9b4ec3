// The frame parser on hostile bytes: however a stream is cut into pieces, the same frames come out.
#include <cstdlib>

#include "base/ttrpc/frame.h"

namespace {

uint64_t Digest(uint64_t digest, const hmvm::TtrpcFrame& frame) {
  const uint64_t fields[] = {frame.stream_id, frame.type,        frame.flags,
                             frame.oversized, frame.data.size(), std::hash<std::string>()(frame.data)};
  for (const uint64_t field : fields) digest = (digest ^ field) * 0x100000001b3;
  return digest;
}

uint64_t Parse(std::string_view bytes, size_t piece_bytes) {
  hmvm::TtrpcFrameParser parser;
  uint64_t digest = 0;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, piece_bytes);
    bytes.remove_prefix(piece.size());
    parser.Append(piece);
    while (auto frame = parser.Next()) digest = Digest(digest, *frame);
  }
  return digest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: a view of the fuzzer's own bytes.
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const uint64_t whole = Parse(bytes, bytes.size());
  if (Parse(bytes, 1) != whole || Parse(bytes, 7) != whole) std::abort();
  return 0;
}
