#include "vmm/snapshot/memory_mapper.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

namespace hmvm {
namespace {

// A run of up to this many pages is read: a mapping costs more, at restore and for as long as it is there (a
// process may have 65,530).
constexpr uint64_t kMaxReadPages = 8;

Result<> ReadAt(const MemoryFile& file, std::span<std::byte> to, uint64_t offset) {
  while (!to.empty()) {
    const ssize_t got = ::pread(file.fd, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{errno, "read '" + file.name + "'"};
    if (got == 0) return Error{EINVAL, "'" + file.name + "' ends too early"};
    to = to.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<> CheckFiles(const MemoryMap& map, std::span<const MemoryFile> files) {
  if (files.size() != map.files().size()) {
    return Error{EINVAL, "the snapshot's memory is in " + std::to_string(map.files().size()) +
                             " files, not " + std::to_string(files.size())};
  }
  const uint64_t wanted = map.total_pages() * kPageBytes;
  for (const MemoryFile& file : files) {
    HMVM_TRY_ASSIGN(const uint64_t size, FileSize(file.fd, file.name));
    if (size != wanted) {
      return Error{EINVAL, "'" + file.name + "' has " + std::to_string(size) + " bytes, not " +
                               std::to_string(wanted) + ": cut short, or another snapshot's"};
    }
  }
  return {};
}

Result<> MapPart(const MemoryFile& file, std::span<std::byte> host, uint64_t first) {
  const uint64_t offset = first * kPageBytes;
  if (host.size() <= kMaxReadPages * kPageBytes) return ReadAt(file, host, offset);
  // SAFETY: replaces pages inside the areas, which are their owner's mapping and stay it.
  void* const mapped = ::mmap(host.data(), host.size(), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file.fd, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return Error{errno, "map '" + file.name + "'"};
  return {};
}

Result<> VerifyFile(const MemoryFileMap& map, const MemoryFile& file) {
  std::vector<std::byte> buffer(kChunkPages * kPageBytes);
  std::vector<uint64_t> sums;
  size_t chunk = 0;
  return VisitChunks(map.runs.runs(), [&](std::span<const PageRun> parts) -> Result<> {
    sums.clear();
    for (const PageRun& part : parts) {
      HMVM_TRY(ReadAt(file, std::span(buffer).first(part.count * kPageBytes), part.first * kPageBytes));
      for (uint64_t i = 0; i < part.count; ++i) {
        sums.push_back(PageChecksum(std::span(buffer).subspan(i * kPageBytes).first<kPageBytes>()));
      }
    }
    if (ChunkChecksum(sums) == map.checksums[chunk++]) return {};
    return Error{EILSEQ, "'" + file.name + "' is corrupt between bytes " +
                             std::to_string(parts.front().first * kPageBytes) + " and " +
                             std::to_string(parts.back().end() * kPageBytes)};
  });
}

}  // namespace

Result<> MapMemory(const MemoryMap& map, std::span<const MemoryFile> files,
                   std::span<const MemoryArea> areas) {
  HMVM_TRY(map.CheckAreas(areas));
  HMVM_TRY(CheckFiles(map, files));
  const std::vector<PageRuns> visible = map.Visible();
  for (size_t i = 0; i < files.size(); ++i) {
    for (const PageRun& run : visible[i].runs()) {
      HMVM_TRY(VisitPages(areas, run, [&](std::span<std::byte> host, uint64_t first) {
        return MapPart(files[i], host, first);
      }));
    }
  }
  return {};
}

Result<> VerifyMemory(const MemoryMap& map, std::span<const MemoryFile> files) {
  HMVM_TRY(CheckFiles(map, files));
  for (size_t i = 0; i < files.size(); ++i) HMVM_TRY(VerifyFile(map.files()[i], files[i]));
  return {};
}

}  // namespace hmvm
