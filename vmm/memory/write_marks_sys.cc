#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/memory/write_marks.h"

namespace hmvm {

Result<> WriteMarks::TurnOn() {
  if (on_) return {};
  if (!bits_) bits_ = std::make_unique<std::atomic<uint64_t>[]>(words());
  on_ = true;
  // A thread may have seen the flag before, with its write still on the way to memory: a barrier in each
  // thread, so that nobody pays for one at each write.
  for (const int command : {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED}) {
    if (::syscall(SYS_membarrier, command, 0, 0) == 0) continue;
    const Error error{errno, "membarrier, which the tracking of written pages needs"};
    TurnOff();
    return error;
  }
  return {};
}

void WriteMarks::TurnOff() {
  on_ = false;
  if (!bits_) return;
  for (size_t i = 0; i < words(); ++i) bits_[i].store(0, std::memory_order_relaxed);
}

void WriteMarks::MarkPages(const void* from, size_t bytes) {
  // Written so that no sum can wrap, and a pointer to elsewhere is far beyond the end.
  const uint64_t offset = reinterpret_cast<uint64_t>(from) - reinterpret_cast<uint64_t>(memory_.data());
  if (bytes == 0 || offset >= memory_.size()) return;
  const uint64_t last = (offset + std::min<uint64_t>(bytes, memory_.size() - offset) - 1) / kPageBytes;
  for (uint64_t page = offset / kPageBytes; page <= last; ++page) {
    // Always the locked operation, though the bit may be set: it orders the write before the mark.
    bits_[page / 64].fetch_or(1ull << page % 64);
  }
}

void WriteMarks::CollectInto(PageBitmap& pages, uint64_t from, uint64_t gap) {
  if (!on_) return;
  for (size_t i = 0; i < words(); ++i) {
    if (bits_[i].load(std::memory_order_relaxed) == 0) continue;
    const uint64_t first = i * 64;
    const uint64_t bits = bits_[i].exchange(0);
    const uint64_t before = from <= first ? 0 : from - first >= 64 ? ~0ull : (1ull << (from - first)) - 1;
    pages.AddWord(first, bits & before);
    pages.AddWord(first + gap, bits & ~before);
  }
}

}  // namespace hmvm
