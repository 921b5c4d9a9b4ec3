// Hostile archives: opened or refused, and every frame of one that was opened is read or refused.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/unique_fd.h"
#include "vmm/snapshot/archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const hmvm::UniqueFd file(::memfd_create("archive", MFD_CLOEXEC));
  if (::write(file.get(), data, size) != static_cast<ssize_t>(size)) return 0;
  const auto archive = hmvm::Archive::Open(file.get(), "archive");
  if (!archive.has_value()) return 0;
  hmvm::ArchivePages pages;
  for (size_t frame = 0; frame < archive->frames(); ++frame) {
    if (!archive->ReadFrame(frame, pages).has_value()) continue;
    for (const hmvm::PageRun& run : pages.runs) {
      if (archive->FrameOf(run.first) != frame || archive->FrameOf(run.end() - 1) != frame) std::abort();
    }
  }
  return 0;
}
