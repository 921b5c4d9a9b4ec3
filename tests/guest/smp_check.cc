// The first process of a guest with several vCPUs ("smp_cpus=N" on the kernel's command line): changes page
// tables on one while others use what they map, and looks for a single access through a translation that
// should have been gone. Powers the machine off when there was none; else it says what it saw on the kernel's
// log and exits, and the kernel panics.
//
// Each reader runs on a vCPU of its own and reads a mapping as fast as it can; around each change there is a
// counter, even before it and odd after: a reader that saw the counter odd before and after a read must have
// read the new contents.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr int kReturn = 0xc3;  // the instruction `ret`
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
thread_local volatile bool trying = false;

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
  std::atomic<uint64_t> done{0};   // changes that are complete
  std::atomic<uint64_t> begun{0};  // changes that may have begun
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

// Even states: `allowed`; odd: `refused`, under which no use() may succeed.
template <typename Use>
void Protect(const char* what, int cpus, uint64_t changes, int allowed, int refused, Use use) {
  void* const page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memset(page, kReturn, kPage);
  ::mprotect(page, kPage, allowed);
  std::atomic<uint64_t> done{0};
  std::atomic<bool> end{false};
  std::vector<std::thread> users;
  std::atomic<uint64_t> uses{0};
  for (int cpu = 1; cpu < cpus; ++cpu) {
    users.emplace_back([&, cpu] {
      RunOn(cpu);
      uint64_t count = 0;
      while (!end.load()) {
        const uint64_t before = done.load();
        const bool succeeded = Try([use, page] { use(page); });
        const uint64_t after = done.load();
        ++count;
        if (before == after && before % 2 == 1 && succeeded) Fail(what, before);
      }
      uses += count;
    });
  }
  RunOn(0);
  const uint64_t start = NowNs();
  for (uint64_t i = 1; i <= changes && failures == 0; ++i) {
    // While a change to `allowed` is under way the number is even already.
    if (i % 2 == 0) done = i;
    ::mprotect(page, kPage, i % 2 == 1 ? refused : allowed);
    if (i % 2 == 1) done = i;
    for (int pause = 0; pause < 2000; ++pause) __builtin_ia32_pause();
  }
  const uint64_t ns = NowNs() - start;
  end = true;
  for (std::thread& user : users) user.join();
  Say(what, uses);
  Say("  ns a change", ns / changes);
  ::munmap(page, kPage);
}

// Another process, with page tables of its own, writes to a page of ours that is shared with a child: we get
// a copy, and must no longer read the old one.
void Poke(int cpus, uint64_t pokes) {
  struct Shared {
    std::atomic<uint64_t> wanted, done;
  };
  auto* const shared =
      static_cast<Shared*>(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto* const page = static_cast<uint64_t*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *page = 0;
  int go[2], answer[2];
  if (::pipe(go) != 0 || ::pipe(answer) != 0) return Fail("pipe", 0);
  const pid_t we = ::getpid();
  const pid_t poker = ::fork();
  if (poker == 0) {
    RunOn(0);
    uint64_t number;
    while (::read(go[0], &number, sizeof(number)) == sizeof(number)) {
      const iovec from = {&number, sizeof(number)};
      const iovec to = {page, sizeof(number)};
      shared->wanted = number;
      uint64_t failed = ::process_vm_writev(we, &from, 1, &to, 1, 0) != sizeof(number) ? 1 : 0;
      shared->done = number;
      if (::write(answer[1], &failed, sizeof(failed)) < 0) break;
    }
    ::_exit(0);
  }
  std::atomic<bool> end{false};
  std::vector<std::thread> readers;
  for (int cpu = 1; cpu < cpus; ++cpu) {
    readers.emplace_back([&, cpu] {
      RunOn(cpu);
      while (!end.load()) {
        const uint64_t before = shared->done.load();
        const uint64_t seen = *static_cast<volatile uint64_t*>(page);
        const uint64_t after = shared->wanted.load();
        if (seen < before || seen > after) return Fail("page that another process wrote to", before - seen);
      }
    });
  }
  RunOn(0);
  for (uint64_t i = 1; i <= pokes && failures == 0; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    uint64_t failed = 1;
    if (::write(go[1], &i, sizeof(i)) < 0 || ::read(answer[0], &failed, sizeof(failed)) < 0 || failed != 0) {
      Fail("process_vm_writev", i);
    }
    for (int pause = 0; pause < 20000; ++pause) __builtin_ia32_pause();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  end = true;
  for (std::thread& reader : readers) reader.join();
  ::kill(poker, SIGKILL);
  ::waitpid(poker, nullptr, 0);
  Say("pages written to by another process", pokes);
}

// Writers add to counters in pages that fork() makes copy-on-write again and again: no sum may be lost to a
// page that a child got, and no child may see its memory change.
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
          memory[page * kPage / 8 + static_cast<size_t>(cpu)] =
              memory[page * kPage / 8 + static_cast<size_t>(cpu)] + 1;
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

// Writes "0" or "1" to a vCPU's switch.
void Switch(int cpu, bool on) {
  char path[64];
  std::snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, on ? "1" : "0", 1) != 1) Fail("switch of a vCPU", static_cast<uint64_t>(cpu));
  ::close(fd);
}

void Hotplug(int cpus) {
  ::mkdir("/sys", 0755);
  ::mount("sysfs", "/sys", "sysfs", 0, nullptr);
  std::atomic<bool> end{false};
  std::thread busy([&end] {
    while (!end.load()) ::getppid();
  });
  for (int round = 0; round < 3; ++round) {
    for (int cpu = 1; cpu < cpus; ++cpu) Switch(cpu, false);
    if (::get_nprocs() != 1) Fail("vCPUs left", static_cast<uint64_t>(::get_nprocs()));
    for (int cpu = 1; cpu < cpus; ++cpu) Switch(cpu, true);
    if (::get_nprocs() != cpus) Fail("vCPUs back", static_cast<uint64_t>(::get_nprocs()));
    for (int cpu = 0; cpu < cpus; ++cpu) RunOn(cpu);
    RunOn(0);
  }
  end = true;
  busy.join();
}

// Every vCPU is busy when the machine ends.
void KeepBusy(int cpus) {
  std::atomic<int> ready{0};
  for (int cpu = 0; cpu < cpus; ++cpu) {
    std::thread([cpu, &ready] {
      RunOn(cpu);
      ++ready;
      for (;;) ::getppid();
    }).detach();
  }
  while (ready != cpus) ::sched_yield();
}

// ---- "smp_check=measure": figures for docs/ring3.md on the kernel's log ----

// Steps of arithmetic a millisecond, on each of `threads` vCPUs at once, all together.
uint64_t Throughput(int threads, bool with_kernel) {
  constexpr uint64_t kNs = 1'000'000'000;
  std::atomic<uint64_t> steps{0};
  std::vector<std::thread> workers;
  for (int cpu = 0; cpu < threads; ++cpu) {
    workers.emplace_back([&, cpu] {
      RunOn(cpu);
      volatile uint64_t value = 1;
      uint64_t done = 0;
      for (const uint64_t end = NowNs() + kNs; NowNs() < end; ++done) {
        if (with_kernel) {
          ::getppid();
        } else {
          for (int i = 0; i < 1000; ++i) value = value * 3 + 1;
        }
      }
      steps += done;
    });
  }
  for (std::thread& worker : workers) worker.join();
  return steps;
}

// Median ns of `act`.
template <typename Act>
uint64_t MedianNs(Act act) {
  constexpr size_t kTimes = 1001;
  std::vector<uint64_t> times(kTimes);
  for (uint64_t& time : times) {
    const uint64_t start = NowNs();
    act();
    time = NowNs() - start;
  }
  std::nth_element(times.begin(), times.begin() + kTimes / 2, times.end());
  return times[kTimes / 2];
}

void MeasurePipe(const char* what, int cpu) {
  int there[2], back[2];
  if (::pipe(there) != 0 || ::pipe(back) != 0) return Fail("pipe", 0);
  RunOn(0);
  std::thread other([&, cpu] {
    RunOn(cpu);
    char byte;
    while (::read(there[0], &byte, 1) == 1 && byte != 0 && ::write(back[1], &byte, 1) == 1) {
    }
  });
  char byte = 1;
  Say(what, MedianNs([&] {
        if (::write(there[1], &byte, 1) != 1 || ::read(back[0], &byte, 1) != 1) Fail("pipe", 1);
      }));
  byte = 0;
  if (::write(there[1], &byte, 1) != 1) Fail("pipe", 2);
  other.join();
}

void MeasureProtect(const char* what, int spinners) {
  std::atomic<bool> end{false};
  std::vector<std::thread> threads;
  for (int cpu = 1; cpu <= spinners; ++cpu) {
    threads.emplace_back([&, cpu] {
      RunOn(cpu);
      while (!end.load()) __builtin_ia32_pause();
    });
  }
  RunOn(0);
  auto* const page =
      static_cast<char*>(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *page = 1;
  Say(what, MedianNs([page] {
        ::mprotect(page, kPage, PROT_READ);
        ::mprotect(page, kPage, PROT_READ | PROT_WRITE);
        *page = 1;
      }));
  end = true;
  for (std::thread& thread : threads) thread.join();
}

void Measure(int cpus) {
  for (const bool with_kernel : {false, true}) {
    for (const int threads : {1, cpus}) {
      Say(with_kernel ? "system calls in 1 s" : "thousand steps in 1 s", Throughput(threads, with_kernel));
    }
  }
  MeasurePipe("pipe there and back, one vCPU, ns", 0);
  MeasurePipe("pipe there and back, two vCPUs, ns", 1);
  MeasureProtect("mprotect twice and a write, alone, ns", 0);
  MeasureProtect("mprotect twice and a write, the others run, ns", cpus - 1);
}

void CheckNumbers(int cpus) {
  for (int cpu = 0; cpu < cpus; ++cpu) {
    RunOn(cpu);
    if (::sched_getcpu() != cpu) Fail("sched_getcpu", static_cast<uint64_t>(::sched_getcpu()));  // rseq's
    unsigned number = ~0U;
    if (::getcpu(&number, nullptr) != 0 || number != static_cast<unsigned>(cpu))
      Fail("getcpu", number);  // the vdso's
  }
}

// Switches a static key in the kernel's page-fault path on and off, for which it puts an int3 into its own
// text while the other vCPUs run there.
void ChangeText(int cpus, uint64_t changes) {
  std::atomic<bool> end{false};
  std::vector<std::thread> others;
  for (int cpu = 1; cpu < cpus; ++cpu) {
    others.emplace_back([cpu, &end] {
      RunOn(cpu);
      auto* const page = static_cast<volatile char*>(
          ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      while (!end.load()) {
        *page = 1;
        ::madvise(const_cast<char*>(page), kPage, MADV_DONTNEED);
      }
    });
  }
  RunOn(0);
  for (uint64_t i = 0; i < changes; ++i) {
    perf_event_attr attributes = {};
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.size = sizeof(attributes);
    attributes.config = PERF_COUNT_SW_PAGE_FAULTS;
    const long fd = ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
    if (fd < 0) {
      Fail("perf_event_open", i);
      break;
    }
    ::close(static_cast<int>(fd));
  }
  end = true;
  for (std::thread& other : others) other.join();
  Say("changes of the kernel's text", changes);
}

}  // namespace

int main() {
  log_fd = ::open("/dev/kmsg", O_WRONLY);
  struct sigaction action = {};
  action.sa_handler = OnFault;
  action.sa_flags = SA_NODEFER;
  ::sigaction(SIGSEGV, &action, nullptr);
  ::sigaction(SIGBUS, &action, nullptr);

  // The kernel gives us what it does not know of its command line.
  const int cpus = ::get_nprocs();
  const char* const wanted = ::getenv("smp_check");
  const std::string_view check = wanted != nullptr ? wanted : "translations";
  if (check == "reboot") {
    KeepBusy(cpus);
    ::reboot(RB_AUTOBOOT);
  }
  if (check == "panic") {
    KeepBusy(cpus);
    return 1;
  }
  const char* const expected = ::getenv("smp_cpus");
  if (expected == nullptr || std::atoi(expected) != cpus) Fail("online vCPUs", static_cast<uint64_t>(cpus));
  CheckNumbers(cpus);
  if (check == "hotplug") {
    Hotplug(cpus);
  } else if (check == "measure") {
    Measure(cpus);
  } else {
    constexpr uint64_t kRounds = 100;
    Remap(cpus, kRounds);
    Protect("page without permission, reads", cpus, 2 * kRounds, PROT_READ, PROT_NONE,
            [](void* page) { static_cast<void>(*static_cast<volatile char*>(page)); });
    Protect("page that is read-only, writes", cpus, 2 * kRounds, PROT_READ | PROT_WRITE, PROT_READ,
            [](void* page) { *static_cast<volatile char*>(page) = static_cast<char>(kReturn); });
    Protect("page that is not executable, calls", cpus, 2 * kRounds, PROT_READ | PROT_EXEC, PROT_READ,
            [](void* page) { reinterpret_cast<void (*)()>(page)(); });
    Poke(cpus, kRounds);
    Fork(cpus, kRounds / 4);
    FlushEachOther(cpus, kRounds);
    ChangeText(cpus, kRounds);
  }
  if (failures != 0) return 1;
  ::sync();
  ::reboot(RB_POWER_OFF);
  return 1;
}
