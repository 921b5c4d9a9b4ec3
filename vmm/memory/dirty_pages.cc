#include "vmm/memory/dirty_pages.h"

#include "vmm/memory/write_marks.h"

namespace hmvm {

DirtyPages::DirtyPages(GuestMemory* memory, std::vector<MemoryArea> areas, std::unique_ptr<GuestWriteLog> log,
                       std::function<void(OwnWrites&)> own_writes)
    : memory_(memory),
      areas_(std::move(areas)),
      log_(std::move(log)),
      own_writes_(std::move(own_writes)),
      total_pages_(TotalPages(areas_)) {}

Result<> DirtyPages::Start() {
  if (tracking_) return {};
  HMVM_TRY(memory_->write_marks().TurnOn());
  if (auto on = log_->TurnOn(); !on.has_value()) {
    static_cast<void>(Stop());
    return on;
  }
  tracking_ = true;
  return {};
}

Result<> DirtyPages::Stop() {
  tracking_ = false;
  memory_->write_marks().TurnOff();
  return log_->TurnOff();
}

Result<> DirtyPages::CollectInto(PageBitmap& pages) {
  if (!tracking_) return Error{EINVAL, "changed pages are not tracked"};
  if (auto collected = CollectLog(pages); !collected.has_value()) {
    static_cast<void>(Stop());
    return collected;
  }
  // RAM's pages are the first of the row, in the order in which they lie in the host's memory; but what was
  // added is the last area.
  const uint64_t booted = memory_->booted_bytes() / kPageBytes;
  memory_->write_marks().CollectInto(pages, booted, total_pages_ - memory_->size_bytes() / kPageBytes);
  AddOwnWrites(pages);
  return {};
}

Result<> DirtyPages::CollectLog(PageBitmap& pages) {
  uint64_t first = 0;
  for (size_t i = 0; i < areas_.size(); ++i) {
    const uint64_t count = areas_[i].host.size() / kPageBytes;
    bits_.assign((count + 63) / 64, 0);
    HMVM_TRY(log_->Collect(i, bits_));
    pages.AddBits(first, bits_);
    first += count;
  }
  return {};
}

void DirtyPages::AddOwnWrites(PageBitmap& pages) const {
  OwnWrites places;
  own_writes_(places);
  for (const std::span<const std::byte> place : places) {
    uint64_t area_first = 0;
    for (const MemoryArea& area : areas_) {
      const uint64_t offset = static_cast<uint64_t>(place.data() - area.host.data());
      if (!place.empty() && offset < area.host.size()) {
        const uint64_t last = std::min<uint64_t>(offset + place.size(), area.host.size()) - 1;
        const uint64_t first_page = offset / kPageBytes;
        pages.SetRun({area_first + first_page, last / kPageBytes - first_page + 1});
      }
      area_first += area.host.size() / kPageBytes;
    }
  }
}

}  // namespace hmvm
