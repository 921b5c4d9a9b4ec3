#include "tests/guest/isolation/registers.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/guest/isolation/program.h"

namespace isolation {
namespace {

uint64_t FsBase() {
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
uint64_t GsBase() {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}

// All that XSAVE knows, filled, must come through each way into the kernel and back as it went in.
class ExtendedState {
 public:
  static constexpr size_t kBytes = 16384;
  static constexpr size_t kHeader = 512;
  static constexpr size_t kHeaderBytes = 64;
  static constexpr uint64_t kComponents = 0xe7;  // x87, SSE, AVX, AVX-512

  ExtendedState() {
    uint32_t low;
    uint32_t high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    mask_ = low & kComponents;
  }
  void Load(bool filled, Random& random) {
    std::memset(before_, 0, kBytes);
    if (filled) {
      for (size_t i = 160; i < 416; ++i) before_[i] = static_cast<unsigned char>(random.Next());  // xmm
      for (size_t i = 576; i < kBytes; ++i) before_[i] = static_cast<unsigned char>(random.Next());
      std::memcpy(before_ + kHeader, &mask_, sizeof(mask_));
    }
    before_[0] = 0x7f, before_[1] = 0x03;    // x87 control word at reset
    before_[24] = 0x80, before_[25] = 0x1f;  // MXCSR at reset
    asm volatile("xrstor (%0)" : : "r"(before_), "a"(static_cast<uint32_t>(mask_)), "d"(0) : "memory");
    Save(before_);
  }
  bool SameNow() {
    Save(now_);
    std::memcpy(now_ + kHeader, before_ + kHeader, kHeaderBytes);  // says which components are as at reset
    return std::memcmp(before_, now_, kBytes) == 0;
  }

  size_t FirstDifference() const {
    return static_cast<size_t>(std::mismatch(before_, before_ + kBytes, now_).first - before_);
  }

 private:
  void Save(unsigned char* area) {
    std::memset(area, 0, kBytes);
    asm volatile("xsave (%0)" : : "r"(area), "a"(static_cast<uint32_t>(mask_)), "d"(0) : "memory");
  }
  uint64_t mask_;
  alignas(64) unsigned char before_[kBytes];
  alignas(64) unsigned char now_[kBytes];
};

// Signals that come back instead of jumping, with the instruction left behind.
void SkipInstruction(int, siginfo_t*, void* interrupted) {
  auto* const registers = static_cast<ucontext_t*>(interrupted)->uc_mcontext.gregs;
  registers[REG_RIP] = registers[REG_R15];
}

constexpr uint64_t kBefore = 0x5aa5;  // in r11 before a system call; afterwards the flags are

bool MayBeInR11(uint64_t value) {
  return value == kBefore || ((value & ~uint64_t{0xffff}) == 0 && (value & kFlagsNobodyGets) == 0);
}
void LookAtR11(int, siginfo_t*, void* interrupted) {
  const auto r11 = static_cast<uint64_t>(static_cast<ucontext_t*>(interrupted)->uc_mcontext.gregs[REG_R11]);
  if (!MayBeInR11(r11)) FAIL("interrupted with 0x%lx in r11", r11);
}

}  // namespace

void CheckRegisters() {
  struct sigaction action = {};
  action.sa_sigaction = SkipInstruction;
  action.sa_flags = SA_SIGINFO;
  for (const int signal : {SIGSEGV, SIGTRAP, SIGILL}) ::sigaction(signal, &action, nullptr);
  static ExtendedState state;
  Random random(7);
  const uint64_t fs = FsBase();
  const uint64_t gs = GsBase();
  const auto check = [&](const char* what) {
    if (!state.SameNow()) {
      FAIL("extended state changed by %s at byte %zu", what, state.FirstDifference());
    }
    if (FsBase() != fs || GsBase() != gs)
      FAIL("segment bases 0x%lx 0x%lx after %s", FsBase(), GsBase(), what);
  };
  for (int i = 0; i < 200; ++i) {
    state.Load(i % 2 == 0, random);
    long parent = SYS_getppid;
    asm volatile("syscall" : "+a"(parent) : : "rcx", "r11", "memory");
    check("a system call");
    state.Load(i % 2 == 0, random);
    asm volatile("lea 1f(%%rip), %%r15\n int3\n 1:" : : : "r15", "memory");
    check("int3");
    state.Load(i % 2 == 0, random);
    asm volatile("lea 1f(%%rip), %%r15\n ud2\n 1:" : : : "r15", "memory");
    check("ud2");
    state.Load(i % 2 == 0, random);
    asm volatile("lea 1f(%%rip), %%r15\n mov (%0), %%rax\n 1:"
                 :
                 : "r"(kKernelDirectMap)
                 : "r15", "rax", "memory");
    check("a fault");
    auto* const fresh = static_cast<char*>(
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    state.Load(i % 2 == 0, random);
    asm volatile("movb $1, (%0)" : : "r"(fresh) : "memory");
    check("a page fault that is served");
    ::munmap(fresh, kPage);
    ::sched_yield();
  }
  TakeSignals();
}

void CheckSystemCalls() {
  struct sigaction action = {};
  action.sa_sigaction = LookAtR11;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigaction(SIGALRM, &action, nullptr);
  const itimerval often = {{0, 300}, {0, 300}};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  for (int i = 0; i < 20000; ++i) {
    uint64_t here, rcx, r11;
    long parent = SYS_getppid;
    asm volatile("mov %4, %%r11d\n syscall\n lea (%%rip), %0\n mov %%rcx, %1\n mov %%r11, %2"
                 : "=&r"(here), "=&r"(rcx), "=&r"(r11), "+a"(parent)
                 : "i"(kBefore)
                 : "rcx", "r11", "memory");
    if (here - rcx > 16 || !MayBeInR11(r11))
      FAIL("after a system call at 0x%lx: rcx 0x%lx, r11 0x%lx", here, rcx, r11);
  }
  const itimerval never = {};
  ::setitimer(ITIMER_REAL, &never, nullptr);
  TakeSignals();
}

}  // namespace isolation
