// Gives a machine the memory of a snapshot, without reading it.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "vmm/memory/pages.h"
#include "vmm/snapshot/memory_map.h"

namespace hmvm {

// A `memory` file open for reading, and what to call it in an error. Whoever has the descriptor open owns it.
struct MemoryFile {
  std::string name;
  int fd = -1;
};

// Makes the pages of `areas`, which must be fresh anonymous memory, those of the snapshot: mapped privately
// from `files` (one for each of the map's, in its order), which must not change as long as the machine lives.
// Short runs of a diff are copied in place of a mapping. EINVAL when areas or files are not the snapshot's.
Result<> MapMemory(const MemoryMap& map, std::span<const MemoryFile> files,
                   std::span<const MemoryArea> areas);

// Whether every byte that the map speaks of is as it was written: reads all data of the files, about 5 GB/s
// from the page cache. EILSEQ names the file and the place. May run in a thread of its own beside MapMemory;
// the guest must not run before.
Result<> VerifyMemory(const MemoryMap& map, std::span<const MemoryFile> files);

}  // namespace hmvm
