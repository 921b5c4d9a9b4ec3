#include "vmm/snapshot/memory_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace hmvm {
namespace {

// What is copied, summed and written in one go: it stays in the processor's cache meanwhile.
constexpr uint64_t kPartPages = 64;
// A run of zero pages that is shorter than this stays part of the data around it: each run is a mapping at
// restore.
constexpr uint64_t kMinGapPages = 16;

bool IsZero(std::span<const std::byte> page) {
  uint64_t first;
  std::memcpy(&first, page.data(), sizeof(first));
  return first == 0 &&
         std::memcmp(page.data(), page.data() + sizeof(first), page.size() - sizeof(first)) == 0;
}

}  // namespace

Result<MemoryWriter> MemoryWriter::Create(std::span<const MemoryArea> areas, int file, std::string name) {
  const auto bytes = static_cast<off_t>(TotalPages(areas) * kPageBytes);
  if (::ftruncate(file, bytes) < 0) return Error{errno, "size '" + name + "'"};
  HMVM_TRY_ASSIGN(MemoryWriter writer, OnlySums(areas));
  writer.file_ = file;
  writer.name_ = std::move(name);
  return writer;
}

Result<MemoryWriter> MemoryWriter::OnlySums(std::span<const MemoryArea> areas) {
  const uint64_t pages = TotalPages(areas);
  HMVM_TRY_ASSIGN(Mapping checksums, Mapping::Anonymous(pages * sizeof(uint64_t)));
  HMVM_TRY_ASSIGN(Mapping written, Mapping::Anonymous(pages));
  return MemoryWriter(areas, std::move(checksums), std::move(written));
}

MemoryWriter::MemoryWriter(std::span<const MemoryArea> areas, Mapping checksums, Mapping written)
    : areas_(areas),
      total_pages_(TotalPages(areas)),
      checksums_(std::move(checksums)),
      written_(std::move(written)),
      buffer_(kPartPages * kPageBytes) {}

Result<> MemoryWriter::Write(PageRun run) {
  return VisitPages(areas_, run, [this](std::span<const std::byte> host, uint64_t first) {
    return WriteFrom(host, first);
  });
}

Result<> MemoryWriter::WriteFrom(std::span<const std::byte> bytes, uint64_t first) {
  while (!bytes.empty()) {
    const std::span<const std::byte> part = bytes.first(std::min<size_t>(bytes.size(), buffer_.size()));
    HMVM_TRY(WritePart(part, first));
    bytes = bytes.subspan(part.size());
    first += part.size() / kPageBytes;
  }
  return {};
}

Result<> MemoryWriter::WritePart(std::span<const std::byte> host, uint64_t first) {
  // SAFETY: a mapping is page aligned and has room for every page of the areas.
  uint64_t* const checksums = reinterpret_cast<uint64_t*>(checksums_.data());
  std::byte* const written = written_.data();
  const uint64_t pages = host.size() / kPageBytes;
  uint64_t unwritten = 0;  // index of the first page whose bytes are in the buffer only
  const auto flush = [&](uint64_t end) -> Result<> {
    const std::span<const std::byte> copied(buffer_);
    const uint64_t from = std::exchange(unwritten, end + 1);
    if (from >= end) return {};
    return WriteAt(copied.subspan(from * kPageBytes, (end - from) * kPageBytes), first + from);
  };
  for (uint64_t i = 0; i < pages; ++i) {
    const std::span<const std::byte> page = host.subspan(i * kPageBytes).first<kPageBytes>();
    const uint64_t number = first + i;
    // What was never anything but zero is a hole already.
    if (IsZero(page) && checksums[number] == 0) {
      HMVM_TRY(flush(i));
    } else {
      // Summed and written is the copy, whatever the guest does.
      const std::span<std::byte, kPageBytes> copy =
          std::span(buffer_).subspan(i * kPageBytes).first<kPageBytes>();
      std::memcpy(copy.data(), page.data(), kPageBytes);
      checksums[number] = PageChecksum(copy);
    }
    written[number] = std::byte{1};
  }
  return flush(pages);
}

Result<> MemoryWriter::WriteAt(std::span<const std::byte> bytes, uint64_t page) {
  if (file_ < 0) return {};
  uint64_t offset = page * kPageBytes;
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error{errno, "write '" + name_ + "'"};
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
    bytes_written_ += static_cast<uint64_t>(put);
  }
  return {};
}

PageRuns MemoryWriter::WrittenRuns() const {
  PageRuns runs;
  const std::span<const std::byte> written = written_.bytes();
  for (uint64_t page = 0; page < total_pages_; ++page) {
    if (written[page] != std::byte{0}) runs.Append({page, 1});
  }
  return runs;
}

PageRuns MemoryWriter::NonZeroRuns() const {
  // SAFETY: as in WritePart.
  const std::span checksums(reinterpret_cast<const uint64_t*>(checksums_.data()), total_pages_);
  PageRuns runs;
  uint64_t end = 0;  // of the last run
  for (uint64_t page = 0; page < total_pages_; ++page) {
    if (checksums[page] == 0) continue;
    const bool joins = !runs.empty() && page - end < kMinGapPages;
    const uint64_t first = joins ? end : page;
    runs.Append({first, page + 1 - first});
    end = page + 1;
  }
  return runs;
}

void MemoryWriter::AddTo(MemoryMap& map) const {
  PageRuns runs = map.files().empty() ? NonZeroRuns() : WrittenRuns();
  // SAFETY: as in WritePart.
  const std::span all(reinterpret_cast<const uint64_t*>(checksums_.data()), total_pages_);
  std::vector<uint64_t> checksums;
  std::vector<uint64_t> of_chunk;
  const auto visited = VisitChunks(runs.runs(), [&](std::span<const PageRun> parts) -> Result<> {
    of_chunk.clear();
    for (const PageRun& part : parts) {
      const auto of_part = all.subspan(part.first, part.count);
      of_chunk.insert(of_chunk.end(), of_part.begin(), of_part.end());
    }
    checksums.push_back(ChunkChecksum(of_chunk));
    return {};
  });
  static_cast<void>(visited);  // this visitor has no errors
  map.AddFile(std::move(runs), std::move(checksums));
}

}  // namespace hmvm
