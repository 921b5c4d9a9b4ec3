#include "vmm/snapshot/memory_map.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

namespace hmvm {
namespace {

// 16 TiB: no sum of pages or bytes can wrap, and a run's numbers fit into the manifest's 32 bits.
constexpr uint64_t kMaxPages = std::numeric_limits<uint32_t>::max();

Error Wrong(std::string what) { return Error{EINVAL, "memory manifest: " + std::move(what)}; }

uint64_t ChecksumOfZeros() {
  static const uint64_t checksum = [] {
    const std::array<std::byte, kPageBytes> zeros = {};
    return XXH3_64bits(zeros.data(), zeros.size());
  }();
  return checksum;
}

size_t ChunksOf(const PageRuns& runs) {
  size_t chunks = 0;
  uint64_t next = 0;  // the first chunk not counted
  for (const PageRun& run : runs.runs()) {
    const uint64_t first = std::max(run.first / kChunkPages, next);
    const uint64_t end = (run.end() - 1) / kChunkPages + 1;
    if (end > first) chunks += end - first;
    next = std::max(next, end);
  }
  return chunks;
}

Result<PageRuns> CheckRuns(const snapshot::MemoryFileManifest& file, uint64_t total_pages) {
  if (file.runs_size() % 2 != 0) return Wrong("half a run");
  PageRuns runs;
  uint64_t page = 0;
  for (int i = 0; i < file.runs_size(); i += 2) {
    const uint64_t gap = file.runs(i);
    const uint64_t count = file.runs(i + 1);
    if (count == 0 || (gap == 0 && i > 0)) return Wrong("an empty run or gap");
    if (gap > total_pages - page || count > total_pages - page - gap) return Wrong("a run beyond the memory");
    runs.Append({page + gap, count});
    page += gap + count;
  }
  return runs;
}

}  // namespace

uint64_t PageChecksum(std::span<const std::byte, kPageBytes> page) {
  return XXH3_64bits(page.data(), page.size()) ^ ChecksumOfZeros();
}

uint64_t ChunkChecksum(std::span<const uint64_t> page_checksums) {
  return XXH3_64bits(page_checksums.data(), page_checksums.size_bytes());
}

MemoryMap::MemoryMap(std::span<const MemoryArea> areas) {
  for (const MemoryArea& area : areas) areas_.push_back({area.start, area.host.size()});
  total_pages_ = TotalPages(areas);
}

Result<MemoryMap> MemoryMap::FromManifest(const snapshot::MemoryManifest& manifest) {
  MemoryMap map;
  if (manifest.areas().empty()) return Wrong("no areas");
  for (const snapshot::MemoryAreaManifest& area : manifest.areas()) {
    const uint64_t pages = area.bytes() / kPageBytes;
    if (area.bytes() == 0 || (area.bytes() | area.start()) % kPageBytes != 0)
      return Wrong("an area of part pages");
    if (pages > kMaxPages - map.total_pages_ ||
        area.start() > std::numeric_limits<uint64_t>::max() - area.bytes()) {
      return Wrong("an area that is too large");
    }
    for (const Area& other : map.areas_) {
      if (area.start() < other.start.value + other.bytes && other.start.value < area.start() + area.bytes()) {
        return Wrong("areas that overlap");
      }
    }
    map.areas_.push_back({GuestAddress{area.start()}, area.bytes()});
    map.total_pages_ += pages;
  }
  if (manifest.files().empty()) return Wrong("no files");
  for (const snapshot::MemoryFileManifest& file : manifest.files()) {
    const std::string name = "file " + std::to_string(map.files_.size() + 1);
    auto runs = CheckRuns(file, map.total_pages_);
    if (!runs.has_value()) return Wrap(name, runs.error());
    if (static_cast<size_t>(file.checksums_size()) != ChunksOf(*runs)) {
      return Wrong(name + " has " + std::to_string(file.checksums_size()) + " checksums for " +
                   std::to_string(ChunksOf(*runs)) + " chunks");
    }
    const std::span<const std::byte> parent = std::as_bytes(std::span(file.parent()));
    const bool follows =
        map.files_.empty() ? parent.empty() : std::ranges::equal(parent, map.files_.back().id);
    if (!follows) {
      return Wrong(map.files_.empty() ? "file 1 is a diff of another"
                                      : name + " is no diff of the file before it");
    }
    map.AddFile(std::move(*runs), {file.checksums().begin(), file.checksums().end()});
  }
  return map;
}

void MemoryMap::AddFile(PageRuns runs, std::vector<uint64_t> checksums) {
  MemoryFileMap file = {.runs = std::move(runs), .checksums = std::move(checksums), .id = {}};
  file.id = IdOf(file, files_.empty() ? std::span<const std::byte>() : files_.back().id);
  files_.push_back(std::move(file));
}

MemoryFileId MemoryMap::IdOf(const MemoryFileMap& file, std::span<const std::byte> parent) const {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  const auto add = [&state](const void* bytes, size_t size) {
    XXH3_128bits_update(state.get(), bytes, size);
  };
  // Lengths first, so that no part can be taken for another's.
  const uint64_t sizes[] = {areas_.size(), file.runs.runs().size(), file.checksums.size(), parent.size()};
  add(sizes, sizeof(sizes));
  for (const Area& area : areas_) {
    const uint64_t words[] = {area.start.value, area.bytes};
    add(words, sizeof(words));
  }
  add(file.runs.runs().data(), file.runs.runs().size_bytes());
  add(file.checksums.data(), file.checksums.size() * sizeof(uint64_t));
  add(parent.data(), parent.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  MemoryFileId id;
  static_assert(sizeof(canonical.digest) == sizeof(id));
  std::memcpy(id.data(), canonical.digest, sizeof(id));
  return id;
}

snapshot::MemoryFileManifest MemoryMap::FileManifest(size_t index) const {
  const MemoryFileMap& file = files_[index];
  snapshot::MemoryFileManifest manifest;
  uint64_t page = 0;
  for (const PageRun& run : file.runs.runs()) {
    manifest.add_runs(static_cast<uint32_t>(run.first - page));
    manifest.add_runs(static_cast<uint32_t>(run.count));
    page = run.end();
  }
  manifest.mutable_checksums()->Add(file.checksums.begin(), file.checksums.end());
  if (index > 0) {
    const MemoryFileId& parent = files_[index - 1].id;
    // SAFETY: protobuf keeps bytes in a string.
    manifest.set_parent(std::string(reinterpret_cast<const char*>(parent.data()), parent.size()));
  }
  return manifest;
}

snapshot::MemoryManifest MemoryMap::ToManifest() const {
  snapshot::MemoryManifest manifest;
  for (const Area& area : areas_) {
    snapshot::MemoryAreaManifest& added = *manifest.add_areas();
    added.set_start(area.start.value);
    added.set_bytes(area.bytes);
  }
  for (size_t i = 0; i < files_.size(); ++i) *manifest.add_files() = FileManifest(i);
  return manifest;
}

PageRuns MemoryMap::AllRuns() const {
  PageRuns all;
  for (const MemoryFileMap& file : files_) all = PageRuns::Union(all.runs(), file.runs.runs());
  return all;
}

std::vector<PageRuns> MemoryMap::Visible() const {
  std::vector<PageRuns> visible(files_.size());
  PageRuns hidden;
  for (size_t i = files_.size(); i-- > 0;) {
    visible[i] = PageRuns::Without(files_[i].runs.runs(), hidden.runs());
    hidden = PageRuns::Union(hidden.runs(), files_[i].runs.runs());
  }
  return visible;
}

Result<> MemoryMap::CheckAreas(std::span<const MemoryArea> areas) const {
  const MemoryMap given(areas);
  if (given.areas_.size() >= areas_.size() &&
      std::equal(areas_.begin(), areas_.end(), given.areas_.begin())) {
    return {};
  }
  return Error{EINVAL, "the snapshot's memory has another layout than this machine"};
}

}  // namespace hmvm
