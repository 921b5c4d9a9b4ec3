// The first process of a guest with several vCPUs: changes page tables on one while others use what they map,
// and looks for a single access through a translation that should have been gone. Powers the machine off when
// there was none; else it says what it saw on the kernel's log and exits, and the kernel panics.
//
// Each reader runs on a vCPU of its own and reads a mapping as fast as it can; around each change there is a
// counter, even before it and odd after: a reader that saw the counter odd before and after a read must have
// read the new contents.
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
int log_fd = -1;
std::atomic<int> failures{0};

void Fail(const char* what, uint64_t got) {
  char line[160];
  const int length = std::snprintf(line, sizeof(line), "<1>smp_check: %s: %llu\n", what,
                                   static_cast<unsigned long long>(got));
  if (failures++ < 20 && ::write(log_fd, line, static_cast<size_t>(length)) < 0) ::_exit(2);
}

void Say(const char* what, uint64_t number) {
  char line[160];
  const int length = std::snprintf(line, sizeof(line), "<1>smp_check: %s %llu\n", what,
                                   static_cast<unsigned long long>(number));
  static_cast<void>(!::write(log_fd, line, static_cast<size_t>(length)));
}

uint64_t NowNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void RunOn(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) Fail("sched_setaffinity", static_cast<uint64_t>(cpu));
}

// A fault in Try() comes back as false.
thread_local sigjmp_buf after_fault;
thread_local bool trying = false;

void OnFault(int signal) {
  if (!trying) {
    Fail("fault outside an attempt", static_cast<uint64_t>(signal));
    ::_exit(1);
  }
  siglongjmp(after_fault, 1);
}

template <typename Act>
__attribute__((noinline)) bool Try(Act act) {
  if (sigsetjmp(after_fault, 0) != 0) {
    trying = false;
    return false;
  }
  trying = true;
  act();
  trying = false;
  return true;
}

// One thread changes, one on each other vCPU looks. `change(i)` makes the i-th change; `look()` tells which
// state it sees, the state after change i being i.
template <typename Change, typename Look>
void Contest(const char* what, int cpus, uint64_t changes, Change change, Look look) {
  std::atomic<uint64_t> done{0};     // changes that are complete
  std::atomic<uint64_t> begun{0};    // changes that may have begun
  std::atomic<bool> end{false};
  std::atomic<int> ready{0};
  std::atomic<uint64_t> looks{0};
  std::vector<std::thread> readers;
  for (int cpu = 1; cpu < cpus; ++cpu) {
    readers.emplace_back([&, cpu] {
      RunOn(cpu);
      ++ready;
      uint64_t count = 0;
      while (!end.load()) {
        const uint64_t before = done.load();
        const uint64_t seen = look();
        const uint64_t after = begun.load();
        ++count;
        if (seen < before || seen > after) {
          Fail(what, before - seen);
          return;
        }
      }
      looks += count;
    });
  }
  RunOn(0);
  while (ready != cpus - 1) ::sched_yield();
  const uint64_t start = NowNs();
  for (uint64_t i = 1; i <= changes && failures == 0; ++i) {
    begun = i;
    change(i);
    done = i;
  }
  const uint64_t ns = NowNs() - start;
  end = true;
  for (std::thread& reader : readers) reader.join();
  Say(what, looks);
  Say("  ns a change", ns / changes);
}

// The page is replaced by another with its number in it.
void Remap(int cpus, uint64_t changes) {
  auto* const page = static_cast<volatile uint64_t*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Contest(
      "remapped page", cpus, changes,
      [page](uint64_t i) {
        auto* const next = static_cast<uint64_t*>(
            ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        *next = i;
        ::mremap(next, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, const_cast<uint64_t*>(page));
      },
      [page] {
        uint64_t seen = 0;
        // Between the old page and the new one there is none.
        while (!Try([&] { seen = *page; })) {
        }
        return seen;
      });
  ::munmap(const_cast<uint64_t*>(page), kPage);
}

// Even states: readable; odd: not.
void Protect(int cpus, uint64_t changes) {
  auto* const page = static_cast<volatile uint64_t*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *page = 1;
  std::atomic<uint64_t> done{0};
  std::atomic<bool> end{false};
  std::vector<std::thread> readers;
  std::atomic<uint64_t> looks{0};
  for (int cpu = 1; cpu < cpus; ++cpu) {
    readers.emplace_back([&, cpu] {
      RunOn(cpu);
      uint64_t count = 0;
      while (!end.load()) {
        const uint64_t before = done.load();
        const bool readable = Try([page] { static_cast<void>(*page); });
        const uint64_t after = done.load();
        ++count;
        // An odd number of completed changes before and after: nobody may have read.
        if (before == after && before % 2 == 1 && readable) Fail("page without permission was read", before);
      }
      looks += count;
    });
  }
  RunOn(0);
  const uint64_t start = NowNs();
  for (uint64_t i = 1; i <= changes && failures == 0; ++i) {
    // While a change to readable is under way the number is even already.
    if (i % 2 == 0) done = i;
    ::mprotect(const_cast<uint64_t*>(page), kPage, i % 2 == 1 ? PROT_NONE : PROT_READ | PROT_WRITE);
    if (i % 2 == 1) done = i;
    for (int pause = 0; pause < 2000; ++pause) __builtin_ia32_pause();
  }
  const uint64_t ns = NowNs() - start;
  end = true;
  for (std::thread& reader : readers) reader.join();
  Say("protected page, looks", looks);
  Say("  ns a change", ns / changes);
  ::munmap(const_cast<uint64_t*>(page), kPage);
}

// Writers add to counters in pages that fork() makes copy-on-write again and again: no sum may be lost to a page
// that a child got, and no child may see its memory change.
void Fork(int cpus, uint64_t forks) {
  constexpr size_t kPages = 16;
  auto* const memory = static_cast<volatile uint64_t*>(
      ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::atomic<bool> end{false};
  std::vector<std::thread> writers;
  std::vector<uint64_t> sums(static_cast<size_t>(cpus));
  for (int cpu = 1; cpu < cpus; ++cpu) {
    writers.emplace_back([&, cpu] {
      RunOn(cpu);
      uint64_t sum = 0;
      while (!end.load()) {
        for (size_t page = 0; page < kPages; ++page) {
          memory[page * kPage / 8 + static_cast<size_t>(cpu)] = memory[page * kPage / 8 + static_cast<size_t>(cpu)] + 1;
        }
        ++sum;
      }
      sums[static_cast<size_t>(cpu)] = sum;
    });
  }
  RunOn(0);
  const uint64_t start = NowNs();
  for (uint64_t i = 0; i < forks && failures == 0; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      uint64_t before[8] = {};
      for (int cpu = 1; cpu < cpus; ++cpu) before[cpu] = memory[cpu];
      for (int round = 0; round < 200; ++round) {
        for (int pause = 0; pause < 50; ++pause) __builtin_ia32_pause();
        for (int cpu = 1; cpu < cpus; ++cpu) {
          if (memory[cpu] != before[cpu]) ::_exit(1);
        }
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) Fail("memory of a child changed", static_cast<uint64_t>(status));
  }
  const uint64_t ns = NowNs() - start;
  end = true;
  for (std::thread& writer : writers) writer.join();
  for (int cpu = 1; cpu < cpus; ++cpu) {
    for (size_t page = 0; page < kPages; ++page) {
      const uint64_t got = memory[page * kPage / 8 + static_cast<size_t>(cpu)];
      if (got != sums[static_cast<size_t>(cpu)]) Fail("writes lost", sums[static_cast<size_t>(cpu)] - got);
    }
  }
  Say("forks, ns each", ns / forks);
  ::munmap(const_cast<uint64_t*>(memory), kPages * kPage);
}

// All vCPUs change page tables of one process at once, and so flush each other.
void FlushEachOther(int cpus, uint64_t changes) {
  std::vector<std::thread> threads;
  const uint64_t start = NowNs();
  for (int cpu = 0; cpu < cpus; ++cpu) {
    threads.emplace_back([cpu, changes] {
      RunOn(cpu);
      for (uint64_t i = 0; i < changes; ++i) {
        auto* const pages = static_cast<volatile uint64_t*>(
            ::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (size_t page = 0; page < 4; ++page) {
          if (pages[page * kPage / 8] != 0) Fail("new memory is not zero", i);
          pages[page * kPage / 8] = i + 1;
        }
        ::munmap(const_cast<uint64_t*>(pages), 4 * kPage);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Say("mmap and munmap on all, ns each", (NowNs() - start) / changes);
}

}  // namespace

int main(int argc, char** argv) {
  log_fd = ::open("/dev/kmsg", O_WRONLY);
  struct sigaction action = {};
  action.sa_handler = OnFault;
  action.sa_flags = SA_NODEFER;
  ::sigaction(SIGSEGV, &action, nullptr);
  ::sigaction(SIGBUS, &action, nullptr);
  const int cpus = ::get_nprocs();
  const uint64_t rounds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300;

  int expected = 0;
  if (const char* const wanted = ::getenv("smp_cpus")) expected = std::atoi(wanted);
  if (expected != cpus) Fail("online vCPUs", static_cast<uint64_t>(cpus));
  for (int cpu = 0; cpu < cpus; ++cpu) {
    RunOn(cpu);
    if (::sched_getcpu() != cpu) Fail("sched_getcpu", static_cast<uint64_t>(::sched_getcpu()));
  }
  Remap(cpus, rounds);
  Protect(cpus, 2 * rounds);
  Fork(cpus, rounds / 4);
  FlushEachOther(cpus, rounds);

  if (failures != 0) return 1;
  ::sync();
  ::reboot(RB_POWER_OFF);
  return 1;
}
