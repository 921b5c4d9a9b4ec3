#include <sys/mman.h>

#include "vmm/memory/working_set.h"

namespace hmvm {

Result<PageRuns> CollectWorkingSet(const TouchedPages& touched, std::span<const MemoryArea> areas) {
  PageBitmap own(TotalPages(areas));
  HMVM_TRY(touched.CollectOwnInto(areas, own));
  if (own.Count() > kMaxWorkingSetPages) {
    return Error{EFBIG, "a working set of " + std::to_string(own.Count()) + " pages"};
  }
  return own.Runs();
}

void PrepareWorkingSet(std::span<const PageRun> pages, std::span<const MemoryArea> areas) {
  uint64_t left = kMaxWorkingSetPages;
  for (const PageRun& run : pages) {
    if (run.first >= TotalPages(areas) || run.count > left) return;
    left -= run.count;
    (void)VisitPages(areas, run, [](std::span<std::byte> host, uint64_t) -> Result<> {
      // Linux before 5.14 does not know it: the pages are copied when they are written to.
      if (::madvise(host.data(), host.size(), MADV_POPULATE_WRITE) < 0) return Error{errno, "madvise"};
      return {};
    }).has_value();
  }
}

}  // namespace hmvm
