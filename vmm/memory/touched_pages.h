// Which pages of the machine's memory the host has given anything: of anonymous memory the others are zero,
// and reading them to find that out would take longer than all the rest.
#pragma once

#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/memory/page_bitmap.h"

namespace hmvm {

// By /proc/self/pagemap, open from the start on, as a jailed process can't open it.
class TouchedPages {
 public:
  static Result<TouchedPages> Open();
  int fd() const { return pagemap_.get(); }

  // Adds to `pages`, one bit a page of the areas, those that are in memory or in swap.
  Result<> CollectInto(std::span<const MemoryArea> areas, PageBitmap& pages) const;
  // The same without those that are a file's, as it is mapped.
  Result<> CollectOwnInto(std::span<const MemoryArea> areas, PageBitmap& pages) const;

 private:
  template <typename Counts>
  Result<> Collect(std::span<const MemoryArea> areas, PageBitmap& pages, const Counts& counts) const;
  explicit TouchedPages(UniqueFd pagemap) : pagemap_(std::move(pagemap)) {}

  UniqueFd pagemap_;
};

}  // namespace hmvm
