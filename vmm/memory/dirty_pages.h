// Which pages of a machine's memory have changed: the one engine behind live and diff snapshots, forks and
// migration.
//
// Two sources are united. The guest's writes come from KVM's log. The VMM's own come from the marks of
// whoever writes once (queues, hypercalls), and from a list of places that it may write to at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/page_bitmap.h"

namespace hmvm {

// The guest's writes, area by area; KVM's.
class GuestWriteLog {
 public:
  virtual ~GuestWriteLog() = default;
  virtual Result<> TurnOn() = 0;
  virtual Result<> TurnOff() = 0;
  // Sets the bits of the pages of area `index` that the guest wrote to since the last call (or TurnOn), and
  // forgets them. `bits` has one a page, zeroed, rounded up to whole words.
  virtual Result<> Collect(size_t index, std::span<uint64_t> bits) = 0;
};

// Places in the host's address space, in any area, that the VMM writes to without a mark.
using OwnWrites = std::vector<std::span<const std::byte>>;

// One thread at a time; the guest and the devices may run.
class DirtyPages {
 public:
  // `areas` are RAM's regions of `memory` and what else the guest has; all outlive this. `own_writes` adds
  // the places of now.
  DirtyPages(GuestMemory* memory, std::vector<MemoryArea> areas, std::unique_ptr<GuestWriteLog> log,
             std::function<void(OwnWrites&)> own_writes);

  std::span<const MemoryArea> areas() const { return areas_; }
  uint64_t total_pages() const { return total_pages_; }
  bool tracking() const { return tracking_; }

  // From here on changes are known; idempotent.
  Result<> Start();
  // Back to no cost.
  Result<> Stop();
  // Adds to `pages` (one bit a page of all areas) what has been written since the last call or Start(). After
  // an error tracking is off, since nobody knows what is missing.
  Result<> CollectInto(PageBitmap& pages);

 private:
  Result<> CollectLog(PageBitmap& pages);
  void AddOwnWrites(PageBitmap& pages) const;

  GuestMemory* memory_;
  std::vector<MemoryArea> areas_;
  std::unique_ptr<GuestWriteLog> log_;
  std::function<void(OwnWrites&)> own_writes_;
  uint64_t total_pages_;
  bool tracking_ = false;
  std::vector<uint64_t> bits_;  // of one area
};

}  // namespace hmvm
