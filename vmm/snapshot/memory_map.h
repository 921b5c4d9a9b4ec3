// The manifest of a snapshot's memory in its checked form: what each `memory` file holds, where, and what it
// must add up to.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "vmm/memory/pages.h"
#include "vmm/snapshot/memory_manifest.pb.h"

namespace hmvm {

// Pages that one checksum of the manifest covers.
inline constexpr uint64_t kChunkPages = 16;

// Names a `memory` file by all that its manifest says, its parent's name included.
using MemoryFileId = std::array<std::byte, 16>;

// XXH3-64 of a page, exclusive-or that of a page of zeros: 0 says that the page is zero.
uint64_t PageChecksum(std::span<const std::byte, kPageBytes> page);
// What the manifest keeps of up to kChunkPages pages.
uint64_t ChunkChecksum(std::span<const uint64_t> page_checksums);

// One file of the chain.
struct MemoryFileMap {
  PageRuns runs;
  std::vector<uint64_t> checksums;  // of each chunk with a page in `runs`, ascending
  MemoryFileId id = {};
};

class MemoryMap {
 public:
  struct Area {
    GuestAddress start;
    uint64_t bytes = 0;
    bool operator==(const Area&) const = default;
  };

  // A map without files of these areas.
  explicit MemoryMap(std::span<const MemoryArea> areas);

  // Refuses what does not hold together: areas that overlap or are not whole pages, runs beyond them, too
  // many or too few checksums, a chain whose parts don't belong to each other. The error tells which.
  static Result<MemoryMap> FromManifest(const snapshot::MemoryManifest& manifest);
  snapshot::MemoryManifest ToManifest() const;

  // Puts a file at the end of the chain, its `id` computed here.
  void AddFile(PageRuns runs, std::vector<uint64_t> checksums);
  // What file `index` adds to the ones before it, as its part of a manifest.
  snapshot::MemoryFileManifest FileManifest(size_t index) const;

  std::span<const Area> areas() const { return areas_; }
  std::span<const MemoryFileMap> files() const { return files_; }
  uint64_t total_pages() const { return total_pages_; }

  // The pages that any file has.
  PageRuns AllRuns() const;
  // For each file, the pages that no later file has.
  std::vector<PageRuns> Visible() const;
  // EINVAL when `areas` are not the ones the snapshot was taken of, perhaps with further ones behind them.
  Result<> CheckAreas(std::span<const MemoryArea> areas) const;

 private:
  MemoryMap() = default;
  MemoryFileId IdOf(const MemoryFileMap& file, std::span<const std::byte> parent) const;

  std::vector<Area> areas_;
  uint64_t total_pages_ = 0;
  std::vector<MemoryFileMap> files_;
};

// Calls visit(chunk_runs) for each chunk with a page in `runs`, ascending; `chunk_runs` are the parts of the
// runs in that chunk. An error of `visit` ends the walk.
template <typename Visit>
Result<> VisitChunks(std::span<const PageRun> runs, const Visit& visit) {
  std::vector<PageRun> parts;
  for (const PageRun& run : runs) {
    for (uint64_t page = run.first; page < run.end();) {
      const uint64_t chunk = page / kChunkPages;
      if (!parts.empty() && parts.front().first / kChunkPages != chunk) {
        HMVM_TRY(visit(std::span<const PageRun>(parts)));
        parts.clear();
      }
      const uint64_t end = std::min(run.end(), (chunk + 1) * kChunkPages);
      parts.push_back({page, end - page});
      page = end;
    }
  }
  if (!parts.empty()) HMVM_TRY(visit(std::span<const PageRun>(parts)));
  return {};
}

}  // namespace hmvm
