// Moving bytes between a chain's scattered buffers and the device.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace hmvm {

inline uint64_t TotalBytes(std::span<const iovec> vectors) {
  uint64_t total = 0;
  for (const iovec& vector : vectors) total += vector.iov_len;
  return total;
}

// Copies from the front of `vectors` until `to` is full or they end; returns the bytes copied.
inline size_t CopyFromVectors(std::span<const iovec> vectors, std::span<std::byte> to) {
  size_t copied = 0;
  for (const iovec& vector : vectors) {
    const size_t part = std::min(vector.iov_len, to.size() - copied);
    if (part == 0) break;
    std::memcpy(to.data() + copied, vector.iov_base, part);
    copied += part;
  }
  return copied;
}

// Copies `from` to the front of `vectors` until either ends; returns the bytes copied.
inline size_t CopyToVectors(std::span<const std::byte> from, std::span<const iovec> vectors) {
  size_t copied = 0;
  for (const iovec& vector : vectors) {
    const size_t part = std::min(vector.iov_len, from.size() - copied);
    if (part == 0) break;
    std::memcpy(vector.iov_base, from.data() + copied, part);
    copied += part;
  }
  return copied;
}

// What is left of `vectors` (changed in place) without its first `bytes`.
inline std::span<iovec> TrimFront(std::span<iovec> vectors, uint64_t bytes) {
  while (!vectors.empty() && bytes >= vectors.front().iov_len) {
    bytes -= vectors.front().iov_len;
    vectors = vectors.subspan(1);
  }
  if (!vectors.empty()) {
    vectors.front().iov_base = static_cast<std::byte*>(vectors.front().iov_base) + bytes;
    vectors.front().iov_len -= bytes;
  }
  return vectors;
}

// The first `bytes` of `vectors` (changed in place).
inline std::span<iovec> KeepFront(std::span<iovec> vectors, uint64_t bytes) {
  size_t count = 0;
  while (count < vectors.size() && bytes > 0) {
    iovec& vector = vectors[count++];
    vector.iov_len = std::min<uint64_t>(vector.iov_len, bytes);
    bytes -= vector.iov_len;
  }
  return vectors.first(count);
}

}  // namespace hmvm
