#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace hmvm {

// Owns one mmap(2) region. Movable; unmapped on destruction.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    Mapping taken(std::move(other));
    std::swap(bytes_, taken.bytes_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Zeroed private memory of `size_bytes` (> 0), committed on first touch and never reserved in swap.
  static Result<Mapping> Anonymous(size_t size_bytes);
  // `size_bytes` of `fd` from `offset_bytes` (a multiple of the page size) with mmap's own prot and flags.
  static Result<Mapping> OfFile(int fd, size_t size_bytes, int prot, int flags, uint64_t offset_bytes = 0);

  std::span<std::byte> bytes() const { return bytes_; }
  std::byte* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace hmvm
