#include "vmm/memory/pages.h"

#include <algorithm>

namespace hmvm {

PageRuns PageRuns::Without(std::span<const PageRun> runs, std::span<const PageRun> taken) {
  PageRuns left;
  size_t next = 0;
  for (PageRun run : runs) {
    while (next < taken.size() && taken[next].end() <= run.first) ++next;
    // What ends behind this run may reach into the next one, too: `next` stays with it.
    for (size_t i = next; i < taken.size() && taken[i].first < run.end(); ++i) {
      if (taken[i].first > run.first) left.Append({run.first, taken[i].first - run.first});
      const uint64_t from = std::min(taken[i].end(), run.end());
      run = {from, run.end() - from};
    }
    left.Append(run);
  }
  return left;
}

PageRuns PageRuns::Union(std::span<const PageRun> one, std::span<const PageRun> other) {
  PageRuns both;
  uint64_t done = 0;  // all pages below are dealt with
  while (!one.empty() || !other.empty()) {
    std::span<const PageRun>& earlier =
        other.empty() || (!one.empty() && one.front().first <= other.front().first) ? one : other;
    const PageRun run = earlier.front();
    earlier = earlier.subspan(1);
    const uint64_t first = std::max(run.first, done);
    if (first < run.end()) both.Append({first, run.end() - first});
    done = std::max(done, run.end());
  }
  return both;
}

}  // namespace hmvm
