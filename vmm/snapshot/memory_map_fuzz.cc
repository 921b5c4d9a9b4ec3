// Hostile manifests: one that is taken holds together, and says the same when it is written again.
#include <cstdlib>

#include "vmm/snapshot/memory_map.h"

namespace {

void Check(const hmvm::MemoryMap& map) {
  for (const hmvm::MemoryFileMap& file : map.files()) {
    uint64_t end = 0;
    size_t chunks = 0;
    for (const hmvm::PageRun& run : file.runs.runs()) {
      if (run.count == 0 || (end != 0 && run.first <= end) || run.end() > map.total_pages()) std::abort();
      end = run.end();
    }
    // The visitor's work is in proportion to the pages, which cost a manifest nothing.
    if (file.runs.TotalPages() > 1 << 16) continue;
    const auto visited =
        hmvm::VisitChunks(file.runs.runs(), [&](std::span<const hmvm::PageRun>) -> hmvm::Result<> {
          ++chunks;
          return {};
        });
    if (!visited.has_value() || chunks != file.checksums.size()) std::abort();
  }
  uint64_t visible = 0;
  const auto runs = map.Visible();
  for (const hmvm::PageRuns& of_file : runs) visible += of_file.TotalPages();
  if (visible > map.total_pages()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hmvm::snapshot::MemoryManifest manifest;
  if (!manifest.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto map = hmvm::MemoryMap::FromManifest(manifest);
  if (!map.has_value()) return 0;
  Check(*map);
  const auto again = hmvm::MemoryMap::FromManifest(map->ToManifest());
  if (!again.has_value() || again->files().back().id != map->files().back().id) std::abort();
  return 0;
}
