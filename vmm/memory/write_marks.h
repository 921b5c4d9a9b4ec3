// Which pages of RAM the VMM itself has written to: KVM's log knows of the guest's writes alone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "vmm/memory/page_bitmap.h"

namespace hmvm {

// Thread-safe. Who writes marks afterwards, never before: a mark that is collected early would tell of bytes
// that are yet to come. Off, which it is at first, a mark costs the look at one flag.
class WriteMarks {
 public:
  // Of the pages of `memory`, which starts at a page.
  explicit WriteMarks(std::span<const std::byte> memory) : memory_(memory) {}

  // Takes [from, from + bytes) down as written. What does not start in the memory is left out.
  void Mark(const void* from, size_t bytes) {
    if (on_.load(std::memory_order_acquire)) MarkPages(from, bytes);
  }

  // From here on marks are kept. What any thread wrote before without a mark is visible to the caller when it
  // returns.
  Result<> TurnOn();
  // Forgets the marks, too.
  void TurnOff();
  // Moves the marks since the last call to `pages`, whose first page is the memory's; those of the memory's
  // page `from` on come to lie `gap` pages further.
  void CollectInto(PageBitmap& pages, uint64_t from, uint64_t gap);

 private:
  void MarkPages(const void* from, size_t bytes);
  size_t words() const { return (memory_.size() / kPageBytes + 63) / 64; }

  std::span<const std::byte> memory_;
  std::atomic<bool> on_ = false;
  std::unique_ptr<std::atomic<uint64_t>[]> bits_;  // made when first turned on, and kept
};

}  // namespace hmvm
