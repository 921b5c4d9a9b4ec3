#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "bench/guest/operation.h"

namespace hmvm::bench {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kFolioBytes = 64 << 10;  // also what the kernel maps around a fault on a file
constexpr size_t kAreaBytes = 1 << 20;  // too small for a huge page, so that a page or folio is what one gets
constexpr char kFile[] = "/usr/bin/perl";  // of the image; some megabytes

// A mapping that begins at a multiple of a folio.
class Area {
 public:
  Area() {
    start_ = static_cast<char*>(::mmap(nullptr, kAreaBytes + kFolioBytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (start_ == MAP_FAILED) Fail("mmap");
  }
  ~Area() { ::munmap(start_, kAreaBytes + kFolioBytes); }
  Area(const Area&) = delete;
  Area& operator=(const Area&) = delete;
  char* first() const {
    return start_ + (kFolioBytes - reinterpret_cast<uintptr_t>(start_) % kFolioBytes) % kFolioBytes;
  }

 private:
  char* start_;
};

Sample WriteToEachPage(int advice) {
  const Area area;
  ::madvise(area.first(), kAreaBytes, advice);  // a kernel without folios needs no telling
  volatile char* page = area.first();
  return TimeOf(kAreaBytes / kPageBytes, [&] {
    *page = 1;
    page += kPageBytes;
  });
}

class File {
 public:
  explicit File(const char* path) : fd_(Check(::open(path, O_RDONLY | O_CLOEXEC), path)) {
    struct stat status;
    Check(::fstat(fd_, &status), path);
    size_ = static_cast<size_t>(status.st_size);
  }
  ~File() { ::close(fd_); }
  Sample ReadOneByteAFolio() const {
    char* start = static_cast<char*>(::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd_, 0));
    if (start == MAP_FAILED) Fail("mmap");
    const volatile char* byte = start;
    const Sample sample = TimeOf(static_cast<unsigned>(size_ / kFolioBytes), [&] {
      (void)*byte;
      byte += kFolioBytes;
    });
    ::munmap(start, size_);
    return sample;
  }

 private:
  int fd_;
  size_t size_;
};

void MapAndUnmap() {
  void* const start =
      ::mmap(nullptr, kFolioBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) Fail("mmap");
  ::munmap(start, kFolioBytes);
}

}  // namespace

std::vector<Operation> MemoryOperations() {
  return {
      Plain("mmap, munmap", 200, 20, MapAndUnmap),
      {"first write to a page, 4 KiB folios", 100,
       [] { return [] { return WriteToEachPage(MADV_NOHUGEPAGE); }; }},
      {"first write to a page, 64 KiB folios", 100,
       [] { return [] { return WriteToEachPage(MADV_HUGEPAGE); }; }},
      {"fault on a file, 16 pages mapped", 100,
       [] { return [file = std::make_shared<File>(kFile)] { return file->ReadOneByteAFolio(); }; }},
  };
}

}  // namespace hmvm::bench
