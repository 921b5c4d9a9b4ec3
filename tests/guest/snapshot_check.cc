// The first process of a guest that is put into a snapshot and goes on from it: on each processor a thread
// keeps patterns in the vector registers, one writes and reads the disk if there is one, and each finds what
// is not as it left it. Twenty times a second it says "tick N MONOTONIC_NS", when all threads have done
// something since the last; "WRONG: ..." and the end of the machine otherwise.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>

#include "tests/guest/console.h"

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr timespec kTick = {.tv_sec = 0, .tv_nsec = 50'000'000};

[[noreturn]] void Wrong(const char* what) {
  Say("WRONG: %s\n", what);
  ::_exit(1);
}

struct Thread {
  std::atomic<uint64_t> rounds{0};
  std::thread thread;
};

struct alignas(32) Vector {
  uint64_t lanes[4];
};

// The registers across a loop in which the guest may be held, saved and restored.
void HoldRegisters(const Vector* in, Vector* out, bool avx) {
#define HOLD(move, r0, r1)                                                                            \
  asm volatile(move " 0(%0), " r0 "\n" move " 32(%0), " r1                                            \
                    "\n"                                                                              \
                    "mov $100000, %%ecx\n1: dec %%ecx\n jnz 1b\n" move " " r0 ", 0(%1)\n" move " " r1 \
                    ", 32(%1)\n"                                                                      \
               :                                                                                      \
               : "r"(in), "r"(out)                                                                    \
               : "ecx", "memory", "xmm3", "xmm14")
  if (avx) {
    HOLD("vmovups", "%%ymm3", "%%ymm14");
  } else {
    HOLD("movups", "%%xmm3", "%%xmm14");
  }
#undef HOLD
}

void CheckRegisters(unsigned cpu, Thread* self) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::pthread_setaffinity_np(::pthread_self(), sizeof(set), &set) != 0) Wrong("a processor is missing");
  __builtin_cpu_init();
  const bool avx = __builtin_cpu_supports("avx") != 0;
  const size_t bytes = avx ? sizeof(Vector) : 16;
  for (uint64_t round = 1;; ++round) {
    Vector in[2];
    for (uint64_t i = 0; i < 8; ++i)
      in[i / 4].lanes[i % 4] = (round * 8 + i) * (cpu + 1) * 0x9e3779b97f4a7c15;
    Vector out[2] = {};
    HoldRegisters(in, out, avx);
    for (int i = 0; i < 2; ++i) {
      if (std::memcmp(&in[i], &out[i], bytes) != 0) Wrong("vector registers");
    }
    self->rounds = round;
  }
}

// Blocks whose content says which they are and how often they were written, past the page cache.
void CheckDisk(int disk, Thread* self) {
  constexpr uint64_t kBlockBytes = 64 << 10;
  constexpr uint64_t kBlocks = 64;
  void* memory = nullptr;
  if (::posix_memalign(&memory, 4096, kBlockBytes) != 0) Wrong("no memory");
  auto* const words = static_cast<uint64_t*>(memory);
  uint64_t written[kBlocks] = {};
  for (uint64_t round = 1;; ++round) {
    const uint64_t block = round * 37 % kBlocks;
    const auto offset = static_cast<off_t>(block * kBlockBytes);
    if (::pread(disk, words, kBlockBytes, offset) != static_cast<ssize_t>(kBlockBytes)) Wrong("disk read");
    for (uint64_t i = 0; written[block] != 0 && i < kBlockBytes / 8; ++i) {
      if (words[i] != (written[block] << 32 ^ block << 16 ^ i)) Wrong("what a disk holds");
    }
    written[block] = round;
    for (uint64_t i = 0; i < kBlockBytes / 8; ++i) words[i] = round << 32 ^ block << 16 ^ i;
    if (::pwrite(disk, words, kBlockBytes, offset) != static_cast<ssize_t>(kBlockBytes)) Wrong("disk write");
    self->rounds = round;
  }
}

}  // namespace

int main() {
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  OpenConsole();
  std::deque<Thread> threads;
  const auto cpus = static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN));
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    Thread& thread = threads.emplace_back();
    thread.thread = std::thread(CheckRegisters, cpu, &thread);
  }
  const int disk = ::open("/dev/vda", O_RDWR | O_DIRECT);
  if (disk >= 0) {
    Thread& thread = threads.emplace_back();
    thread.thread = std::thread(CheckDisk, disk, &thread);
  }
  int64_t last_ns = 0;
  for (uint64_t tick = 1;; ++tick) {
    for (Thread& thread : threads) {
      // However long the host lets it wait.
      const uint64_t before = thread.rounds;
      while (thread.rounds == before) ::nanosleep(&kTick, nullptr);
    }
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = now.tv_sec * kNsPerSecond + now.tv_nsec;
    if (now_ns < last_ns) Wrong("the clock goes back");
    last_ns = now_ns;
    Say("tick %lu %ld cpus %u disk %d\n", tick, now_ns, cpus, disk >= 0 ? 1 : 0);
  }
}
