// Snapshots of one machine's memory, one after the other: full ones or diffs, of a machine that is held or of
// one that goes on.
//
// Live, memory is copied in rounds while the guest runs: first all that is to be written, then what has
// changed meanwhile. What is left when the rounds get no smaller is copied within the pause, to the VMM's own
// memory, and written after it. So the pause is in proportion to how fast the guest writes, not to how much
// memory it has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "vmm/memory/dirty_pages.h"
#include "vmm/memory/touched_pages.h"
#include "vmm/snapshot/memory_map.h"
#include "vmm/snapshot/memory_writer.h"

namespace hmvm {

struct MemorySaveRequest {
  int file = -1;     // empty, open for writing; the owner keeps it open until AfterPause()
  std::string name;  // for errors
  bool live = false;
  // The identity of the last snapshot, which this is to be a diff of; none: a full one.
  std::optional<MemoryFileId> diff_of;
  // It is not the last snapshot to the next request; without one before it, tracking ends with it.
  bool passing = false;
};

// What a snapshot took, in pages.
struct MemorySaveReport {
  uint64_t written_bytes = 0;
  uint64_t rounds = 0;        // while the guest ran; 0: it did not
  uint64_t paused_pages = 0;  // copied or written within the pause
};

// What a restored machine's memory was at first.
struct MemoryOrigin {
  MemoryMap map;
  // Its files are mapped privately. Then a page differs from them only if it is this process's own by now,
  // which the kernel knows without anybody tracking it, from the restore on.
  bool mapped = false;
};

// One thread at a time. The three steps in this order; after an error the next call is BeforePause() again,
// and what has changed since the last good snapshot is not forgotten.
class MemorySaver {
 public:
  // `origin`: of a restored machine; such pages have content before they are touched, and while nothing else
  // was taken it is the last snapshot. Without `touched`, which outlives this, all pages are read, and only a
  // snapshot that was taken here has diffs.
  MemorySaver(DirtyPages* dirty, const TouchedPages* touched, std::optional<MemoryOrigin> origin);

  // The guest runs, unless it is paused anyway. EINVAL: the last snapshot is not the one that the request
  // names.
  Result<> BeforePause(MemorySaveRequest request);
  // Neither guest nor devices do anything.
  Result<> WhilePaused();
  // The machine may go on. Its memory of WhilePaused() is in the file now; the map's last file is it.
  Result<MemoryMap> AfterPause();

  const MemorySaveReport& report() const { return report_; }

 private:
  // Pages copied, to be written later: `run` of the machine's, at `offset` of the copies.
  struct Copied {
    PageRun run;
    uint64_t offset = 0;
  };

  Result<PageRuns> PagesOfFull() const;
  Result<PageRuns> PagesOfDiff();
  Result<PageRuns> Collect();
  Result<> Write(const PageRuns& pages);
  Result<> Copy(const PageRuns& pages);
  Result<> RunRounds(PageRuns pages);
  bool Fits(const PageRuns& pages) const;

  DirtyPages* dirty_;
  const TouchedPages* touched_;  // nullptr: there is no /proc
  uint64_t copies_room_bytes_;
  PageRuns restored_;              // what the origin has
  std::optional<MemoryMap> last_;  // the last good snapshot
  bool last_is_mapped_ = false;    // it is the origin, from whose files memory is mapped
  PageBitmap changed_;             // since then, as far as collected

  // Of the snapshot under way.
  MemorySaveRequest request_;
  std::optional<MemoryWriter> writer_;
  PageRuns left_;  // to be written yet
  Mapping copies_;
  uint64_t copied_bytes_ = 0;
  std::vector<Copied> copied_;
  MemorySaveReport report_;
};

}  // namespace hmvm
