// Fills a snapshot's `memory` file from a machine's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "vmm/memory/pages.h"
#include "vmm/snapshot/memory_map.h"

namespace hmvm {

// Pages may be written in any order and again: the last time counts. The guest may run meanwhile; a page that
// it changes while it is read has to be written again. Zero pages stay holes. One thread at a time.
class MemoryWriter {
 public:
  // `file` is empty and open for writing; it is not fsynced. `areas` and `file` outlive the writer. Errors of
  // the file carry `name`.
  static Result<MemoryWriter> Create(std::span<const MemoryArea> areas, int file, std::string name);

  // One that writes nothing, for AddTo() alone.
  static Result<MemoryWriter> OnlySums(std::span<const MemoryArea> areas);

  Result<> Write(PageRun run);
  // The same with the bytes that the pages from `first` on had.
  Result<> WriteFrom(std::span<const std::byte> bytes, uint64_t first);

  uint64_t bytes_written() const { return bytes_written_; }

  // Ends the file and adds it to `map`, which has the areas of this writer. A map without files takes it as a
  // full snapshot: pages not written are zero. Else it is a diff of the last file: it has the pages written
  // here.
  void AddTo(MemoryMap& map) const;

 private:
  MemoryWriter(std::span<const MemoryArea> areas, Mapping checksums, Mapping written);
  Result<> WritePart(std::span<const std::byte> host, uint64_t first);
  Result<> WriteAt(std::span<const std::byte> bytes, uint64_t page);
  PageRuns WrittenRuns() const;
  PageRuns NonZeroRuns() const;

  std::span<const MemoryArea> areas_;
  int file_ = -1;  // -1: only sums
  std::string name_;
  uint64_t total_pages_;
  // By page; anonymous memory, so that a page that was never written costs none.
  Mapping checksums_;  // uint64_t: PageChecksum
  Mapping written_;    // one byte: not 0 once it was written
  std::vector<std::byte> buffer_;
  uint64_t bytes_written_ = 0;
};

}  // namespace hmvm
