// A snapshot's memory from one form into another, without a machine.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "vmm/snapshot/archive.h"
#include "vmm/snapshot/memory_map.h"
#include "vmm/snapshot/memory_mapper.h"

namespace hmvm {

// Room for a snapshot's memory in this process: zero at first, and taking nothing where it stays so.
class MemoryRoom {
 public:
  static Result<MemoryRoom> Create(const MemoryMap& map);
  std::span<const MemoryArea> areas() const { return areas_; }

 private:
  MemoryRoom() = default;

  Mapping mapping_;
  std::vector<MemoryArea> areas_;
};

// The map of one full file with the content of `areas`, of which `map` says where it is not zero; no file is
// written.
Result<MemoryMap> SumMemory(const MemoryMap& map, std::span<const MemoryArea> areas);

// Writes the memory of a chain into `out`, an empty file whose errors carry `name`: one full file, in the map
// that comes back. The chain is verified first.
Result<MemoryMap> MergeMemory(const MemoryMap& map, std::span<const MemoryFile> files, int out,
                              const std::string& name);

// The same from an archive. EILSEQ: what was unpacked is not what was packed.
Result<MemoryMap> UnpackMemory(const Archive& archive, int out, const std::string& name);

}  // namespace hmvm
