// Pages of a guest's memory by number, and runs of them.
//
// All memory of a machine counts as one row of pages: its areas (RAM regions, then the platform's own), one
// behind the other in the order of their list. Page N of the row is at byte N * kPageBytes of a `memory`
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace hmvm {

inline constexpr uint64_t kPageBytes = 4096;

struct PageRun {
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t end() const { return first + count; }
  bool operator==(const PageRun&) const = default;
};

// A part of the row of pages, in the address space of guest and host. Start and size are whole pages.
using MemoryArea = GuestMemory::Region;

inline uint64_t TotalPages(std::span<const MemoryArea> areas) {
  uint64_t pages = 0;
  for (const MemoryArea& area : areas) pages += area.host.size() / kPageBytes;
  return pages;
}

// Calls `visit(host, first_page)` for each part of `run` that lies in one area: its bytes, its first page's
// number. `visit` returns a Result<>; the first error ends the walk. What lies behind the last area is left
// out.
template <typename Visit>
Result<> VisitPages(std::span<const MemoryArea> areas, PageRun run, const Visit& visit) {
  uint64_t area_first = 0;
  for (const MemoryArea& area : areas) {
    const uint64_t area_end = area_first + area.host.size() / kPageBytes;
    const uint64_t first = run.first > area_first ? run.first : area_first;
    const uint64_t end = run.end() < area_end ? run.end() : area_end;
    if (first < end) {
      HMVM_TRY(
          visit(area.host.subspan((first - area_first) * kPageBytes, (end - first) * kPageBytes), first));
    }
    area_first = area_end;
  }
  return {};
}

// Ascending runs that neither meet nor overlap, built from the front. Adding what continues the last run
// makes it longer.
class PageRuns {
 public:
  void Append(PageRun run) {
    if (run.count == 0) return;
    if (!runs_.empty() && runs_.back().end() == run.first) {
      runs_.back().count += run.count;
    } else {
      runs_.push_back(run);
    }
  }
  std::span<const PageRun> runs() const { return runs_; }
  bool empty() const { return runs_.empty(); }
  uint64_t TotalPages() const {
    uint64_t pages = 0;
    for (const PageRun& run : runs_) pages += run.count;
    return pages;
  }
  bool operator==(const PageRuns&) const = default;

  // The pages of `runs` that are not in `taken`.
  static PageRuns Without(std::span<const PageRun> runs, std::span<const PageRun> taken);
  // The pages that are in either.
  static PageRuns Union(std::span<const PageRun> one, std::span<const PageRun> other);

 private:
  std::vector<PageRun> runs_;
};

}  // namespace hmvm
