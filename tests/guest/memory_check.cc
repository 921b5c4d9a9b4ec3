// The first process of a guest whose memory is put into snapshots while it changes: every page says which
// page it is and how often it was written, and a table elsewhere says how often that must be. A page that a
// snapshot has from another moment than the rest is found.
//
//   memory_check MIB PAGES_PER_MS
//
// Fills MIB of memory, says "ready", then goes on checking a page and writing it anew, at most PAGES_PER_MS
// of them in a millisecond (0: as fast as it can), and says "checked N" four times a second. Ends its machine
// when a page is wrong.
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tests/guest/console.h"

namespace {

constexpr uint64_t kPageWords = 512;
constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kSayEveryNs = 250 * kNsPerMs;

int64_t NowNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 * kNsPerMs + now.tv_nsec;
}

uint64_t Mix(uint64_t value) {
  value = (value ^ value >> 31) * 0x7fb5d329728ea185;
  return (value ^ value >> 27) * 0x81dadef4bc2dd44d;
}

class Memory {
 public:
  explicit Memory(uint64_t pages)
      : pages_(pages),
        words_(static_cast<uint64_t*>(::mmap(nullptr, pages * kPageWords * 8, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        written_(pages) {
    if (words_ == MAP_FAILED) std::abort();
    ::madvise(words_, pages * kPageWords * 8, MADV_HUGEPAGE);
    for (uint64_t page = 0; page < pages; ++page) Write(page);
  }

  uint64_t pages() const { return pages_; }
  bool IsRight(uint64_t page) const {
    uint64_t word = Mix(page << 32 ^ written_[page]);
    for (uint64_t i = 0; i < kPageWords; ++i, ++word) {
      if (words_[page * kPageWords + i] != word) return false;
    }
    return true;
  }
  void Write(uint64_t page) {
    uint64_t word = Mix(page << 32 ^ ++written_[page]);
    for (uint64_t i = 0; i < kPageWords; ++i, ++word) words_[page * kPageWords + i] = word;
  }

 private:
  uint64_t pages_;
  uint64_t* words_;
  std::vector<uint32_t> written_;
};

}  // namespace

int main(int argc, char** argv) {
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  OpenConsole();
  if (argc != 3) return 1;
  Memory memory(std::strtoull(argv[1], nullptr, 10) * 256);
  const uint64_t pages_per_ms = std::strtoull(argv[2], nullptr, 10);
  Say("ready\n");

  uint64_t random = 1;
  uint64_t checked = 0;
  int64_t said_ns = NowNs();
  for (;;) {
    const uint64_t batch = pages_per_ms == 0 ? 1000 : pages_per_ms;
    const int64_t start_ns = NowNs();
    for (uint64_t i = 0; i < batch; ++i, ++checked) {
      const uint64_t page = Mix(++random) % memory.pages();
      if (!memory.IsRight(page)) {
        Say("WRONG: page %lu\n", page);
        return 1;
      }
      memory.Write(page);
    }
    if (start_ns - said_ns > kSayEveryNs) {
      Say("checked %lu\n", checked);
      said_ns = start_ns;
    }
    const int64_t left_ns = start_ns + kNsPerMs - NowNs();
    if (pages_per_ms != 0 && left_ns > 0) {
      const timespec rest = {.tv_sec = 0, .tv_nsec = left_ns};
      ::nanosleep(&rest, nullptr);
    }
  }
}
