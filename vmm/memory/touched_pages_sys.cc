#include <unistd.h>

#include "base/file.h"
#include "security/fd_class.h"
#include "vmm/memory/touched_pages.h"

namespace hmvm {
namespace {

// Documentation/admin-guide/mm/pagemap.rst: 64 bits a page, of which two say that it is somewhere.
constexpr uint64_t kPresent = 1ull << 63;
constexpr uint64_t kSwapped = 1ull << 62;
constexpr uint64_t kOfFile = 1ull << 61;

}  // namespace

Result<TouchedPages> TouchedPages::Open() {
  HMVM_TRY_ASSIGN(UniqueFd pagemap, OpenFile("/proc/self/pagemap", O_RDONLY));
  HMVM_TRY_ASSIGN(pagemap, Place(fd_class::kPagemap, std::move(pagemap)));
  return TouchedPages(std::move(pagemap));
}

Result<> TouchedPages::CollectInto(std::span<const MemoryArea> areas, PageBitmap& pages) const {
  return Collect(areas, pages, [](uint64_t entry) { return (entry & (kPresent | kSwapped)) != 0; });
}

Result<> TouchedPages::CollectOwnInto(std::span<const MemoryArea> areas, PageBitmap& pages) const {
  return Collect(areas, pages, [](uint64_t entry) {
    return (entry & (kPresent | kSwapped)) != 0 && (entry & kOfFile) == 0;
  });
}

template <typename Counts>
Result<> TouchedPages::Collect(std::span<const MemoryArea> areas, PageBitmap& pages,
                               const Counts& counts) const {
  std::vector<uint64_t> entries(8192);
  return VisitPages(
      areas, {0, pages.pages()}, [&](std::span<const std::byte> host, uint64_t first) -> Result<> {
        const uint64_t address = reinterpret_cast<uint64_t>(host.data());
        const uint64_t count = host.size() / kPageBytes;
        for (uint64_t done = 0; done < count;) {
          const uint64_t wanted = std::min<uint64_t>(entries.size(), count - done);
          const auto offset = static_cast<off_t>((address / kPageBytes + done) * sizeof(uint64_t));
          const ssize_t got = ::pread(pagemap_.get(), entries.data(), wanted * sizeof(uint64_t), offset);
          if (got < static_cast<ssize_t>(sizeof(uint64_t)))
            return Error{got < 0 ? errno : EIO, "read the pagemap"};
          const uint64_t read = static_cast<uint64_t>(got) / sizeof(uint64_t);
          for (uint64_t i = 0; i < read; ++i) {
            if (counts(entries[i])) pages.Set(first + done + i);
          }
          done += read;
        }
        return {};
      });
}

}  // namespace hmvm
