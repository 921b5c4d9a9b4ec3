// What a device may be writing to: the buffers of the chains it holds, so that their pages count as changed
// when it gives them back, or drops them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace hmvm {

class DeviceWrites {
 public:
  DeviceWrites() = default;
  // For chains with heads below `size`. Guest memory outlives this.
  DeviceWrites(const GuestMemory* memory, uint16_t size) : memory_(memory), buffers_(size) {}
  DeviceWrites(DeviceWrites&& other) noexcept
      : memory_(other.memory_), buffers_(std::exchange(other.buffers_, {})) {}
  DeviceWrites& operator=(DeviceWrites&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(buffers_, other.buffers_);
    return *this;
  }
  DeviceWrites(const DeviceWrites&) = delete;
  DeviceWrites& operator=(const DeviceWrites&) = delete;
  // What is still held was perhaps written to.
  ~DeviceWrites() {
    for (uint16_t head = 0; head < buffers_.size(); ++head) End(head);
  }

  void Begin(uint16_t head, std::span<const iovec> writable) {
    buffers_[head].assign(writable.begin(), writable.end());
  }
  // The device has written to them for the last time.
  void End(uint16_t head) {
    if (head >= buffers_.size()) return;
    for (const iovec& buffer : buffers_[head]) memory_->MarkWritten(buffer.iov_base, buffer.iov_len);
    buffers_[head].clear();
  }

 private:
  const GuestMemory* memory_ = nullptr;
  std::vector<std::vector<iovec>> buffers_;  // by head
};

}  // namespace hmvm
