// The pages that a restored guest writes to at each start. Given to it before it asks for them, by a thread
// of their own, they cost a tenth of the faults in which KVM would copy them one after the other.
#pragma once

#include <span>

#include "base/result.h"
#include "vmm/memory/pages.h"
#include "vmm/memory/touched_pages.h"

namespace hmvm {

// 8 MiB: what a small container writes to. Each is memory that a machine does not share any more.
inline constexpr uint64_t kMaxWorkingSetPages = 2048;

// Pages of `areas` that are the machine's own by now, not those of the files that they are mapped from.
// EFBIG: there are more than kMaxWorkingSetPages.
Result<PageRuns> CollectWorkingSet(const TouchedPages& touched, std::span<const MemoryArea> areas);

// Makes `pages`, up to kMaxWorkingSetPages of them, the machine's own, with the content that they have. A
// hint: what is outside the areas, or can't be had, is left out.
void PrepareWorkingSet(std::span<const PageRun> pages, std::span<const MemoryArea> areas);

}  // namespace hmvm
