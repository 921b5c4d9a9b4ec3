#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

namespace hmvm {

// A queue of bytes with a fixed capacity. Takes its memory at the first Append and keeps it.
class ByteRing {
 public:
  explicit ByteRing(size_t capacity) : capacity_(capacity) {}

  size_t size() const { return size_; }
  size_t free() const { return capacity_ - size_; }
  bool empty() const { return size_ == 0; }

  // Appends as much as there is room for; returns the bytes taken.
  size_t Append(std::span<const std::byte> bytes) {
    if (storage_ == nullptr) storage_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    const size_t taken = std::min(bytes.size(), free());
    const size_t end = (start_ + size_) % capacity_;
    const size_t first = std::min(taken, capacity_ - end);
    std::memcpy(storage_.get() + end, bytes.data(), first);
    std::memcpy(storage_.get(), bytes.data() + first, taken - first);
    size_ += taken;
    return taken;
  }

  // All bytes in order, the oldest first; the second part is often empty.
  std::array<iovec, 2> Parts() const {
    const size_t first = std::min(size_, capacity_ - start_);
    return {{{storage_.get() + start_, first}, {storage_.get(), size_ - first}}};
  }

  void Consume(size_t bytes) {
    start_ = (start_ + bytes) % capacity_;
    size_ -= bytes;
  }
  void Clear() { Consume(size_); }

 private:
  size_t capacity_;
  std::unique_ptr<std::byte[]> storage_;
  size_t start_ = 0;
  size_t size_ = 0;
};

}  // namespace hmvm
