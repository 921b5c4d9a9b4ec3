#include "base/ttrpc/frame.h"

#include <algorithm>
#include <cassert>

namespace hmvm {
namespace {

void PutBigEndian32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

uint32_t GetBigEndian32(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

}  // namespace

std::string EncodeTtrpcFrame(uint32_t stream_id, uint8_t type, std::string_view data) {
  assert(data.size() <= kTtrpcMaxDataBytes);
  std::string out;
  out.reserve(kTtrpcHeaderBytes + data.size());
  PutBigEndian32(out, static_cast<uint32_t>(data.size()));
  PutBigEndian32(out, stream_id);
  out += static_cast<char>(type);
  out += '\0';  // flags: a unary call
  out += data;
  return out;
}

void TtrpcFrameParser::Append(std::string_view bytes) {
  const size_t skipped = std::min<uint64_t>(skip_bytes_, bytes.size());
  skip_bytes_ -= skipped;
  bytes.remove_prefix(skipped);
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  buffer_ += bytes;
}

std::optional<TtrpcFrame> TtrpcFrameParser::Next() {
  const std::string_view rest = std::string_view(buffer_).substr(consumed_);
  if (rest.size() < kTtrpcHeaderBytes) return std::nullopt;
  const uint32_t length = GetBigEndian32(rest);
  TtrpcFrame frame{.stream_id = GetBigEndian32(rest.substr(4)),
                   .type = static_cast<uint8_t>(rest[8]),
                   .flags = static_cast<uint8_t>(rest[9]),
                   .data = {}};
  const size_t arrived = std::min<size_t>(rest.size() - kTtrpcHeaderBytes, length);
  if (length > kTtrpcMaxDataBytes) {
    frame.oversized = true;
    skip_bytes_ = length - arrived;
  } else if (arrived < length) {
    return std::nullopt;
  } else {
    frame.data = rest.substr(kTtrpcHeaderBytes, length);
  }
  consumed_ += kTtrpcHeaderBytes + arrived;
  return frame;
}

}  // namespace hmvm
