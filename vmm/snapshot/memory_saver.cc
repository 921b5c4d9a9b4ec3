#include "vmm/snapshot/memory_saver.h"

#include <algorithm>
#include <cstring>

namespace hmvm {
namespace {

// The guest is paused when no more than this is left: 2 MiB, which are copied in less time than a pause takes
// anyway.
constexpr uint64_t kFewPages = 512;
// A round that leaves more than this part of the one before is one of a guest that writes as fast as we do.
constexpr double kShrinks = 0.8;
constexpr uint64_t kMostRounds = 20;
// The VMM's memory for pages that are written after the pause: so much of the guest's, for which the limit of
// the VMM's cgroup has room.
constexpr uint64_t kCopiesPart = 4;
constexpr uint64_t kMostCopiesBytes = 256 << 20;

}  // namespace

MemorySaver::MemorySaver(DirtyPages* dirty, const TouchedPages* touched, std::optional<MemoryOrigin> origin)
    : dirty_(dirty),
      touched_(touched),
      copies_room_bytes_(std::min(dirty->total_pages() * kPageBytes / kCopiesPart, kMostCopiesBytes)),
      changed_(dirty->total_pages()) {
  if (!origin.has_value()) return;
  restored_ = origin->map.AllRuns();
  last_is_mapped_ = origin->mapped && touched != nullptr;
  if (last_is_mapped_) last_ = std::move(origin->map);
}

Result<> MemorySaver::BeforePause(MemorySaveRequest request) {
  request_ = std::move(request);
  writer_.reset();
  left_ = {};
  copied_.clear();
  copied_bytes_ = 0;
  report_ = {};
  if (!dirty_->tracking() && !last_is_mapped_) last_.reset();
  if (request_.diff_of.has_value() && (!last_.has_value() || last_->files().back().id != *request_.diff_of)) {
    return Error{EINVAL, "a diff needs the machine's last snapshot for its parent: take a full one"};
  }
  HMVM_TRY_ASSIGN(writer_, MemoryWriter::Create(dirty_->areas(), request_.file, request_.name));
  if (!request_.live) return {};
  HMVM_TRY(dirty_->Start());
  HMVM_TRY(Collect());
  HMVM_TRY_ASSIGN(PageRuns pages, request_.diff_of.has_value() ? PagesOfDiff() : PagesOfFull());
  return RunRounds(std::move(pages));
}

// First to the file; when that gets nowhere, to our own memory, which is several times faster.
Result<> MemorySaver::RunRounds(PageRuns pages) {
  bool to_file = true;
  while (pages.TotalPages() > kFewPages && report_.rounds < kMostRounds) {
    const uint64_t before = pages.TotalPages();
    if (to_file) {
      HMVM_TRY(Write(pages));
    } else {
      if (!Fits(pages)) break;
      HMVM_TRY(Copy(pages));
    }
    ++report_.rounds;
    HMVM_TRY_ASSIGN(pages, Collect());
    if (static_cast<double>(pages.TotalPages()) < kShrinks * static_cast<double>(before)) continue;
    if (!to_file) break;
    to_file = false;
  }
  left_ = std::move(pages);
  return {};
}

Result<> MemorySaver::WhilePaused() {
  // A live one has tracked from its start on.
  HMVM_TRY(dirty_->Start());
  HMVM_TRY_ASSIGN(PageRuns pages, Collect());
  if (request_.live) {
    pages = PageRuns::Union(pages.runs(), left_.runs());
  } else {
    HMVM_TRY_ASSIGN(pages, request_.diff_of.has_value() ? PagesOfDiff() : PagesOfFull());
  }
  report_.paused_pages = pages.TotalPages();
  return request_.live && Fits(pages) ? Copy(pages) : Write(pages);
}

Result<MemoryMap> MemorySaver::AfterPause() {
  for (const Copied& copied : copied_) {
    HMVM_TRY(writer_->WriteFrom(copies_.bytes().subspan(copied.offset, copied.run.count * kPageBytes),
                                copied.run.first));
  }
  MemoryMap map = request_.diff_of.has_value() ? *last_ : MemoryMap(dirty_->areas());
  writer_->AddTo(map);
  report_.written_bytes = writer_->bytes_written();
  writer_.reset();
  copies_ = Mapping();
  // Nothing was collected since the pause: what changes from then on is still in the logs.
  if (!request_.passing) {
    changed_.Clear();
    last_ = map;
    last_is_mapped_ = false;
  } else if (!last_.has_value() || last_is_mapped_) {
    changed_.Clear();
    HMVM_TRY(dirty_->Stop());
  }
  return map;
}

Result<PageRuns> MemorySaver::PagesOfFull() const {
  PageRuns all;
  all.Append({0, dirty_->total_pages()});
  if (touched_ == nullptr) return all;
  PageBitmap touched(dirty_->total_pages());
  HMVM_TRY(touched_->CollectInto(dirty_->areas(), touched));
  return PageRuns::Union(touched.Runs().runs(), restored_.runs());
}

// What became the process's own before tracking began is not in the log. Asked after it has begun: nothing is
// in neither.
Result<PageRuns> MemorySaver::PagesOfDiff() {
  if (last_is_mapped_) HMVM_TRY(touched_->CollectOwnInto(dirty_->areas(), changed_));
  return changed_.Runs();
}

Result<PageRuns> MemorySaver::Collect() {
  PageBitmap now(dirty_->total_pages());
  HMVM_TRY(dirty_->CollectInto(now));
  changed_.Add(now);
  return now.Runs();
}

Result<> MemorySaver::Write(const PageRuns& pages) {
  for (const PageRun& run : pages.runs()) HMVM_TRY(writer_->Write(run));
  return {};
}

bool MemorySaver::Fits(const PageRuns& pages) const {
  return pages.TotalPages() * kPageBytes <= copies_room_bytes_ - copied_bytes_;
}

Result<> MemorySaver::Copy(const PageRuns& pages) {
  if (copies_.size() == 0) {
    HMVM_TRY_ASSIGN(copies_, Mapping::Anonymous(copies_room_bytes_));
  }
  for (const PageRun& run : pages.runs()) {
    HMVM_TRY(
        VisitPages(dirty_->areas(), run, [this](std::span<const std::byte> host, uint64_t first) -> Result<> {
          std::memcpy(copies_.data() + copied_bytes_, host.data(), host.size());
          copied_.push_back({{first, host.size() / kPageBytes}, copied_bytes_});
          copied_bytes_ += host.size();
          return {};
        }));
  }
  return {};
}

}  // namespace hmvm
