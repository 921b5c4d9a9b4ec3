// ttrpc's framing (containerd/ttrpc PROTOCOL.md): a header of ten bytes, then the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hmvm {

constexpr size_t kTtrpcHeaderBytes = 10;
constexpr size_t kTtrpcMaxDataBytes = 4 << 20;

enum : uint8_t { kTtrpcRequest = 1, kTtrpcResponse = 2 };

struct TtrpcFrame {
  uint32_t stream_id = 0;
  uint8_t type = 0;  // kTtrpcRequest, kTtrpcResponse, or one that the receiver ignores
  uint8_t flags = 0;
  std::string data;        // empty when oversized
  bool oversized = false;  // announced more than kTtrpcMaxDataBytes; its data was skipped
};

// The frame's bytes. Precondition: data.size() <= kTtrpcMaxDataBytes.
std::string EncodeTtrpcFrame(uint32_t stream_id, uint8_t type, std::string_view data);

// Cuts a byte stream into frames. Memory is taken for bytes that have arrived, never for a length that was
// only announced; an oversized frame is reported once its header is complete and its data is dropped as it
// comes. Not thread-safe.
class TtrpcFrameParser {
 public:
  // Adds bytes as they came from the peer. Take all frames with Next() after each call: what is held is then
  // bounded by one frame.
  void Append(std::string_view bytes);
  // The next complete frame, if there is one.
  std::optional<TtrpcFrame> Next();

 private:
  std::string buffer_;
  size_t consumed_ = 0;      // bytes of buffer_ that earlier frames used
  uint64_t skip_bytes_ = 0;  // left of an oversized frame's data
};

}  // namespace hmvm
