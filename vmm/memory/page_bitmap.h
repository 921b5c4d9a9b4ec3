// A set of pages, one bit each.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/memory/pages.h"

namespace hmvm {

class PageBitmap {
 public:
  explicit PageBitmap(uint64_t pages) : pages_(pages), words_((pages + 63) / 64) {}

  uint64_t pages() const { return pages_; }
  void Set(uint64_t page) { words_[page / 64] |= 1ull << page % 64; }
  void SetRun(PageRun run) {
    for (uint64_t page = run.first; page < run.end(); ++page) Set(page);
  }
  bool Has(uint64_t page) const { return (words_[page / 64] >> page % 64 & 1) != 0; }
  void Clear() { std::ranges::fill(words_, 0); }

  // Adds the pages of `other`, which has as many.
  void Add(const PageBitmap& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  // Adds page `first` + i for each bit i of `bits`; bits beyond the last page are left out.
  void AddBits(uint64_t first, std::span<const uint64_t> bits) {
    for (size_t i = 0; i < bits.size(); ++i) AddWord(first + i * 64, bits[i]);
  }
  void AddWord(uint64_t first, uint64_t bits) {
    for (; bits != 0; bits &= bits - 1) {
      const uint64_t page = first + static_cast<uint64_t>(std::countr_zero(bits));
      if (page < pages_) Set(page);
    }
  }

  uint64_t Count() const {
    uint64_t count = 0;
    for (const uint64_t word : words_) count += static_cast<uint64_t>(std::popcount(word));
    return count;
  }
  PageRuns Runs() const {
    PageRuns runs;
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t word = words_[i]; word != 0;) {
        const int first = std::countr_zero(word);
        const int count = std::countr_one(word >> first);
        runs.Append({i * 64 + static_cast<uint64_t>(first), static_cast<uint64_t>(count)});
        word = first + count == 64 ? 0 : word >> (first + count) << (first + count);
      }
    }
    return runs;
  }

 private:
  uint64_t pages_;
  std::vector<uint64_t> words_;
};

}  // namespace hmvm
