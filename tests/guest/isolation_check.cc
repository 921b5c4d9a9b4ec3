// A hostile program as the first process of a guest on the ring3 platform: it reads, writes and executes
// every page that the guest's kernel and the monitor have mapped, jumps to every byte that it can reach of
// them with registers of its choosing, and looks for anything of theirs that a system call or a fault leaves
// in its registers. Powers the machine off when nothing gave way; else it says what did on the kernel's log
// and exits, and the kernel panics.
//
// What must hold is written here, not how the platform does it: no access, no privilege, no leak, no crash.
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <thread>
#include <vector>

namespace {

constexpr uint64_t kPage = 4096;
// docs/ring3.md, "Address map", and the kernel's Documentation/arch/x86/x86_64/mm.rst
constexpr uint64_t kUpperHalf = 0xffff800000000000;
constexpr uint64_t kSlotBytes = uint64_t{1} << 39;
constexpr uint64_t kMonitor = 0xffff808000000000;
constexpr uint64_t kMonitorBytes = 0x20000000;
constexpr uint64_t kMonitorMapped = 0x800000;  // in any view, with as little memory as this test's guest has
constexpr uint64_t kMonitorLast = kMonitor + 0x1fe00000;  // ring 0's own: all of it is looked at
constexpr uint64_t kMonitorDirectMap = 0xffff810000000000;
constexpr uint64_t kKernelDirectMap = 0xffff888000000000;
constexpr uint64_t kVmalloc = 0xffffc90000000000;
constexpr uint64_t kVmemmap = 0xffffea0000000000;
constexpr uint64_t kCpuEntryArea = 0xfffffe0000000000;
constexpr uint64_t kKernelImage = 0xffffffff80000000;
constexpr uint64_t kModules = 0xffffffffa0000000;
constexpr uint64_t kFixmapEnd = 0xffffffffff600000;  // the vsyscall page, then holes
constexpr uint64_t kNotCanonical = 0x1234567812345678;

int log_fd = -1;
std::atomic<int> failures = 0;
std::atomic<uint64_t> tried = 0;

__attribute__((format(printf, 2, 3))) void Log(int level, const char* format, ...) {
  char line[256];
  int length = std::snprintf(line, sizeof(line), "<%d>isolation_check: ", level);
  va_list arguments;
  va_start(arguments, format);
  length += std::vsnprintf(line + length, sizeof(line) - static_cast<size_t>(length), format, arguments);
  va_end(arguments);
  const size_t bytes = std::min(static_cast<size_t>(length), sizeof(line) - 1);
  if (::write(log_fd, line, bytes) < 0) ++failures;
}
#define FAIL(...) (++failures, Log(1, __VA_ARGS__))

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1d;
  }
  template <typename T, size_t N>
  T Pick(const T (&values)[N]) {
    return values[Next() % N];
  }

 private:
  uint64_t state_;
};

// ---- signals ----

thread_local sigjmp_buf after;
thread_local volatile int caught;
thread_local ucontext_t context;  // of the last signal

// No mask is kept and none restored: a probe costs a fault and no system call.
void OnSignal(int signal, siginfo_t*, void* interrupted) {
  asm volatile("push $0x202\n popfq" : : : "memory", "cc");  // AC, NT and the like stay on else
  caught = signal;
  std::memcpy(&context, interrupted, sizeof(context));
  siglongjmp(after, 1);
}

void TakeSignals() {
  struct sigaction action = {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGTRAP, SIGFPE, SIGILL, SIGBUS, SIGALRM}) {
    ::sigaction(signal, &action, nullptr);
  }
}
// Each thread's own: a signal must be told of whatever rsp is.
void UseSignalStack() {
  constexpr size_t kBytes = 1 << 16;
  stack_t stack = {};
  stack.ss_sp = std::malloc(kBytes);
  stack.ss_size = kBytes;
  ::sigaltstack(&stack, nullptr);
}

// The signal that `act` ends with, 0 for none.
template <typename Act>
int SignalOf(Act act) {
  caught = 0;
  if (sigsetjmp(after, 0) == 0) act();
  return caught;
}

// ---- every page ----

enum class Access { kRead, kWrite, kExecute };
constexpr Access kAccesses[] = {Access::kRead, Access::kWrite, Access::kExecute};

int Try(Access access, uint64_t address) {
  ++tried;
  return SignalOf([access, address] {
    switch (access) {
      case Access::kRead:
        static_cast<void>(*reinterpret_cast<volatile char*>(address));
        break;
      case Access::kWrite:
        *reinterpret_cast<volatile char*>(address) = 1;
        break;
      case Access::kExecute:
        reinterpret_cast<void (*)()>(address)();
        break;
    }
  });
}

void ExpectNoAccess(const char* what, uint64_t address) {
  for (const Access access : kAccesses) {
    const int signal = Try(access, address);
    if (signal != SIGSEGV) {
      FAIL("%s: access %d at 0x%lx: signal %d", what, static_cast<int>(access), address, signal);
    }
  }
}
void ExpectNoAccess(const char* what, uint64_t start, uint64_t bytes, uint64_t stride) {
  for (uint64_t offset = 0; offset < bytes; offset += stride) ExpectNoAccess(what, start + offset);
}
void ExpectNoAccessAtRandom(const char* what, uint64_t start, uint64_t bytes, int count) {
  Random random(start);
  for (int i = 0; i < count; ++i) ExpectNoAccess(what, start + random.Next() % bytes);
}

// From /proc/iomem: the end of the last resource of that name, guest-physical.
uint64_t EndOf(const char* name) {
  std::FILE* const file = std::fopen("/proc/iomem", "re");
  uint64_t end = 0;
  char line[128];
  while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
    unsigned long first;
    unsigned long last;
    if (std::strstr(line, name) != nullptr && std::sscanf(line, " %lx-%lx", &first, &last) == 2)
      end = last + 1;
  }
  if (file != nullptr) std::fclose(file);
  if (end == 0) FAIL("no '%s' in /proc/iomem", name);
  return end;
}

// The pages of the monitor's that can be read: the gates. All others take nothing.
std::vector<uint64_t> CheckMonitor() {
  std::vector<uint64_t> gates;
  const auto check = [&gates](uint64_t page) {
    if (Try(Access::kRead, page) == SIGSEGV) {
      ExpectNoAccess("monitor", page);
    } else {
      gates.push_back(page);
      if (Try(Access::kWrite, page) != SIGSEGV) FAIL("gate page 0x%lx can be written", page);
    }
  };
  for (uint64_t page = kMonitor; page < kMonitor + kMonitorMapped; page += kPage) check(page);
  for (uint64_t page = kMonitor + kMonitorMapped; page < kMonitorLast; page += 61 * kPage) check(page);
  for (uint64_t page = kMonitorLast; page < kMonitor + kMonitorBytes; page += kPage) check(page);
  // One a vCPU at most, and all the same: nothing of a vCPU's is in it, and nothing that could be an address.
  if (gates.empty() || gates.size() > 8) FAIL("%zu gate pages", gates.size());
  for (const uint64_t page : gates) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(page);
    if (std::memcmp(bytes, reinterpret_cast<const void*>(gates[0]), kPage) != 0)
      FAIL("gates differ: 0x%lx", page);
    for (uint64_t i = 0; i + sizeof(uint64_t) <= kPage; ++i) {
      uint64_t word;
      std::memcpy(&word, bytes + i, sizeof(word));
      if (word >= kUpperHalf) FAIL("an address in the gate page at 0x%lx: 0x%lx", page + i, word);
    }
  }
  return gates;
}

void CheckKernel() {
  const uint64_t ram = EndOf("System RAM");
  ExpectNoAccess("monitor's direct map", kMonitorDirectMap, ram, 64 * kPage);
  ExpectNoAccess("direct map", kKernelDirectMap, ram, kPage);
  ExpectNoAccess("kernel image", kKernelImage, EndOf("Kernel bss"), kPage);
  ExpectNoAccess("vmemmap", kVmemmap, ram / kPage * 64, kPage);
  ExpectNoAccess("vmalloc", kVmalloc, 256 * kPage, kPage);
  ExpectNoAccess("cpu entry area", kCpuEntryArea, 128 * kPage, kPage);
  ExpectNoAccess("modules", kModules, 64 * kPage, kPage);
  ExpectNoAccess("fixmap", kFixmapEnd - 1536 * kPage, 1536 * kPage, kPage);
  // The vsyscall page answers calls to its three functions and nothing else.
  for (const Access access : {Access::kRead, Access::kWrite}) {
    if (Try(access, kFixmapEnd) != SIGSEGV) FAIL("vsyscall page: access %d", static_cast<int>(access));
  }
  ExpectNoAccess("end", kFixmapEnd + kPage, 0 - (kFixmapEnd + kPage), 64 * kPage);
  ExpectNoAccess("end", UINT64_MAX);

  for (uint64_t slot = 256; slot < 512; ++slot) {
    if (slot == 257) continue;
    const uint64_t start = kUpperHalf + (slot - 256) * kSlotBytes;
    ExpectNoAccess("slot", start);
    ExpectNoAccessAtRandom("slot", start, kSlotBytes - kPage, 6);
  }
  ExpectNoAccessAtRandom("vmalloc", kVmalloc, 1 << 30, 300);
  ExpectNoAccess("not canonical", kNotCanonical);
  ExpectNoAccess("the end of the lower half", uint64_t{1} << 47);
}

// ---- every gate ----

// In the order in which Leap takes them off; the last five are what iretq takes.
struct Registers {
  uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  uint64_t rip, cs, rflags, rsp, ss;
};

extern "C" {
// Loads all registers and goes to rip.
[[noreturn]] void Leap(const Registers* registers);
// Where a system call made so returns to: notes the registers in `landed`, ends as a signal does.
void Land();
thread_local Registers landed;
thread_local uint64_t stack_to_land_on;
thread_local uint64_t landing_rsp;
[[noreturn]] void OnLanding() {
  caught = 0;
  siglongjmp(after, 1);
}
}
asm(R"(
.text
.globl Leap
Leap:
  mov %rdi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
  pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax
  iretq
.globl Land
Land:
  mov %rsp, %fs:landing_rsp@tpoff
  mov %fs:stack_to_land_on@tpoff, %rsp
  pushfq
  pop %fs:landed@tpoff+136
  push $0x202
  popfq
  push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi; push %r8
  push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
  mov %fs:0, %rdi
  lea landed@tpoff(%rdi), %rdi
  mov %rsp, %rsi
  mov $15, %ecx
  rep movsq
  mov %fs:stack_to_land_on@tpoff, %rsp
  call OnLanding
)");

constexpr uint64_t kFlagsNobodyGets = 0x1a3000;  // IOPL, VM, VIF, VIP
constexpr uint64_t kInterruptFlag = 0x200;

Registers FromContext() {
  const greg_t* const r = context.uc_mcontext.gregs;
  const auto at = [r](int index) { return static_cast<uint64_t>(r[index]); };
  return {at(REG_R15), at(REG_R14), at(REG_R13), at(REG_R12), at(REG_R11), at(REG_R10), at(REG_R9),
          at(REG_R8),  at(REG_RDI), at(REG_RSI), at(REG_RBP), at(REG_RBX), at(REG_RDX), at(REG_RCX),
          at(REG_RAX), at(REG_RIP), 0x33,        at(REG_EFL), at(REG_RSP), 0x2b};
}

// Goes to `target` with wild registers. It may end with a signal there, or be a system call: that has its
// result in rax, and rip is then what rcx was. Nothing else may have happened to any register.
void LeapTo(uint64_t target, Random& random) {
  // A gate is an int3. The end of a system call lies in the page, too: two instructions that any program may
  // execute anywhere (ring3_check goes through them).
  if (*reinterpret_cast<const volatile uint8_t*>(target) != 0xcc) return;
  const uint64_t stack = stack_to_land_on;
  const uint64_t landing = reinterpret_cast<uint64_t>(&Land);
  const uint64_t returns[] = {
      landing,           landing, kNotCanonical, kKernelImage + 0x1000000, kMonitorDirectMap,
      uint64_t{1} << 47, 0,       UINT64_MAX};
  const uint64_t stacks[] = {stack,         stack,  stack - 8, kKernelDirectMap + 0x10000,
                             kNotCanonical, target, 0,         UINT64_MAX};
  // TF, NT, IOPL, VM, AC, DF, RF and all; iretq at CPL 3 takes of them what the CPU lets it.
  constexpr uint64_t kFlags[] = {0x202, 0x302,   0x4202,   0x3202, 0x20202,   0x40202,
                                 0x602, 0x10202, 0x254fd7, 0,      UINT64_MAX};
  constexpr uint64_t kNumbers[] = {SYS_getpid, SYS_gettid, UINT64_MAX, 0x7fffffff, 0xffffffff00000027, 5000};

  Registers before;
  auto* const words = reinterpret_cast<uint64_t*>(&before);
  std::generate_n(words, sizeof(before) / sizeof(*words), [&random] {
    return random.Next() % 4 == 0 ? kKernelDirectMap + random.Next() % 0x100000 : random.Next();
  });
  before.rax = random.Pick(kNumbers);
  before.rcx = random.Pick(returns);
  before.r11 = random.Pick(kFlags);
  before.rip = target;
  before.cs = 0x33;
  before.rflags = random.Pick(kFlags) & 0x254fd7;
  before.rsp = random.Pick(stacks);
  before.ss = 0x2b;

  ++tried;
  const int signal = SignalOf([&before] { Leap(&before); });
  Registers now = signal != 0 ? FromContext() : landed;
  if (signal == 0) {
    now.rip = before.rcx;
    now.rsp = landing_rsp;
  }
  const bool system_call = now.rip - before.rcx < 16;  // single-stepped, an instruction further
  Registers expected = before;
  expected.rip = now.rip;
  expected.cs = now.cs = expected.ss = now.ss = 0;
  expected.rflags = now.rflags;
  if (system_call) {
    const auto result = static_cast<int64_t>(now.rax);
    if (result != ::getpid() && result != ::gettid() && result != -ENOSYS)
      FAIL("system call gave 0x%lx", now.rax);
    expected.rax = now.rax;
    expected.rcx = now.rcx;
    expected.r11 = now.r11;
    if (now.rcx != before.rcx || (now.r11 != before.r11 && now.r11 >= kUpperHalf)) {
      FAIL("after a system call rcx is 0x%lx, r11 0x%lx", now.rcx, now.r11);
    }
  } else if (signal == 0 || now.rip - target > 1) {
    FAIL("from byte 0x%lx to 0x%lx, signal %d", target, now.rip, signal);
  }
  if ((now.rflags & kFlagsNobodyGets) != 0 || (now.rflags & kInterruptFlag) == 0) {
    FAIL("flags 0x%lx from byte 0x%lx", now.rflags, target);
  }
  if (std::memcmp(&now, &expected, sizeof(now)) != 0) {
    for (size_t i = 0; i < sizeof(now) / sizeof(*words); ++i) {
      const uint64_t a = reinterpret_cast<const uint64_t*>(&expected)[i];
      const uint64_t b = reinterpret_cast<const uint64_t*>(&now)[i];
      if (a != b) FAIL("byte 0x%lx, signal %d: register %zu was 0x%lx, is 0x%lx", target, signal, i, a, b);
    }
  }
}

void CheckGates(const std::vector<uint64_t>& gates, uint64_t seed) {
  UseSignalStack();
  std::vector<char> stack(1 << 16);
  stack_to_land_on = (reinterpret_cast<uint64_t>(stack.data()) + stack.size()) & ~uint64_t{15};
  Random random(seed);
  for (const uint64_t page : gates) {
    for (uint64_t byte = 0; byte < kPage; ++byte) LeapTo(page + byte, random);
    // Where gates have been and may be: the first bytes.
    for (int i = 0; i < 1500; ++i) LeapTo(page + random.Next() % 33, random);
  }
}

// A thread on each processor at once.
void CheckGatesOnAllProcessors(const std::vector<uint64_t>& gates) {
  std::vector<std::thread> threads;
  for (int cpu = 0; cpu < ::get_nprocs(); ++cpu) {
    threads.emplace_back([cpu, &gates] {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cpu, &set);
      ::sched_setaffinity(0, sizeof(set), &set);
      CheckGates(gates, static_cast<uint64_t>(cpu) + 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- what is left in registers ----

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

constexpr uint64_t kBefore = 0x5aa5;  // in r11 before a system call; afterwards the flags are

bool MayBeInR11(uint64_t value) {
  return value == kBefore || ((value & ~uint64_t{0xffff}) == 0 && (value & kFlagsNobodyGets) == 0);
}
void LookAtR11(int, siginfo_t*, void* interrupted) {
  const auto r11 = static_cast<uint64_t>(static_cast<ucontext_t*>(interrupted)->uc_mcontext.gregs[REG_R11]);
  if (!MayBeInR11(r11)) FAIL("interrupted with 0x%lx in r11", r11);
}

// After a system call rcx is where it returns to and r11 the flags, whenever an interrupt comes.
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

// ---- every other instruction ----

unsigned char* Code() {
  static auto* const code = static_cast<unsigned char*>(
      ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  return code;
}

// The signal that the instructions end with; 0 when they ran to their end.
int SignalOfCode(const std::vector<unsigned char>& bytes) {
  ++tried;
  std::memset(Code(), 0xcc, 64);
  std::memcpy(Code(), bytes.data(), bytes.size());
  const int signal = SignalOf([] {
    asm volatile("jmp *%0" : : "r"(Code()), "a"(SYS_getpid), "c"(0), "d"(0x60) : "memory");
  });
  const uint64_t end = reinterpret_cast<uint64_t>(Code()) + bytes.size() + 1;
  return FromContext().rip == end ? 0 : signal;
}

void CheckInstructions() {
  for (unsigned vector = 0; vector < 256; ++vector) SignalOfCode({0xcd, static_cast<unsigned char>(vector)});
  const std::vector<unsigned char> kPrivileged[] = {
      {0xf4},                                   // hlt
      {0xfa},                                   // cli
      {0xfb},                                   // sti
      {0xe4, 0x60},                             // in
      {0xe6, 0x03},                             // out, to a stub's port
      {0x6c},                                   // ins
      {0x6e},                                   // outs
      {0x0f, 0x30},                             // wrmsr
      {0x0f, 0x32},                             // rdmsr
      {0x0f, 0x06},                             // clts
      {0x0f, 0x08},                             // invd
      {0x0f, 0x09},                             // wbinvd
      {0x0f, 0x07},                             // sysret
      {0x48, 0x0f, 0x07},                       // sysretq
      {0x0f, 0x34},                             // sysenter
      {0x0f, 0x35},                             // sysexit
      {0x0f, 0x01, 0xf8},                       // swapgs
      {0x0f, 0x01, 0xd1},                       // xsetbv
      {0x0f, 0x01, 0xca},                       // clac
      {0x0f, 0x01, 0xcb},                       // stac
      {0x0f, 0x01, 0xc8},                       // monitor
      {0x0f, 0x01, 0xd8},                       // vmrun
      {0x0f, 0x01, 0xda},                       // vmload
      {0x0f, 0x01, 0xdf},                       // invlpga
      {0x0f, 0x01, 0x38},                       // invlpg
      {0x0f, 0x01, 0x10},                       // lgdt
      {0x0f, 0x01, 0x18},                       // lidt
      {0x0f, 0x00, 0xd0},                       // lldt
      {0x0f, 0x00, 0xd8},                       // ltr
      {0x0f, 0x01, 0xf0},                       // lmsw
      {0x0f, 0x20, 0xd8},                       // mov from cr3
      {0x0f, 0x22, 0xd8},                       // mov to cr3
      {0x0f, 0x21, 0xf8},                       // mov from dr7
      {0x0f, 0x23, 0xf8},                       // mov to dr7
      {0x0f, 0xaa},                             // rsm
      {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2},  // Xen's CPUID
      {0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8},        // mov 0x10, ds
      {0xb8, 0x18, 0, 0, 0, 0x8e, 0xd0},        // mov 0x18, ss
      {0xb8, 0x40, 0, 0, 0, 0x8e, 0xc0},        // mov 0x40 (the task), es
      // A far return to CPL 0: push 0x10; push the next address; lretq.
      {0x6a, 0x10, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcb},
      // iretq to CPL 0, with its rip on the stack.
      {0x54, 0x6a, 0x18, 0x54, 0x9c, 0x6a, 0x10, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcf},
  };
  // Segments that are not a user's: any index of the GDT, and an LDT that nobody has made.
  Random random(3);
  for (unsigned i = 0; i < 1024; ++i) {
    const uint64_t selector = i < 512 ? i * 4 : random.Next() | 4;
    SignalOfCode({0xb8, static_cast<unsigned char>(selector), static_cast<unsigned char>(selector >> 8), 0, 0,
                  0x8e, 0xc0});
    // A far call through a pointer with it: a gate's, if it is one.
    SignalOfCode({0x48, 0xb8, 0, 0, 0, 0, static_cast<unsigned char>(selector),
                  static_cast<unsigned char>(selector >> 8), 0, 0, 0x50, 0xff, 0x1c, 0x24});
  }
  for (const auto& bytes : kPrivileged) {
    // In a process of its own: what an instruction does to its program is the program's own affair.
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(2);
      ::_exit(SignalOfCode(bytes) == 0 ? 1 : 0);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !(WIFSIGNALED(status) || WEXITSTATUS(status) == 0)) {
      FAIL("no signal from %02x %02x %02x", bytes[0], bytes[1 % bytes.size()], bytes[2 % bytes.size()]);
    }
  }
}

// Any bytes at all, by a process without rights: whatever becomes of it, the machine goes on.
void RunAnyBytes(uint64_t seed, const sigset_t& ended) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    Random random(seed);
    for (int i = 0; i < 200; ++i) {
      unsigned char bytes[16];
      for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random.Next() >> 16);
      // Half of all begin as what few compilers write.
      constexpr unsigned char kEscapes[] = {0x0f, 0xc4, 0xc5, 0x62, 0xf3, 0x66, 0xf0, 0x8f};
      if (random.Next() % 2 == 0) bytes[0] = random.Pick(kEscapes);
      ::ualarm(2'000, 0);  // ends an endless loop
      SignalOfCode(std::vector<unsigned char>(std::begin(bytes), std::end(bytes)));
    }
    ::_exit(0);
  }
  // What is out of its mind or asleep by then is ended, with what it may have started.
  const timespec patience = {.tv_sec = 0, .tv_nsec = 300'000'000};
  while (::sigtimedwait(&ended, nullptr, &patience) < 0 && errno == EINTR) {
  }
  ::kill(-1, SIGKILL);
  bool found = false;
  for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, 0)) > 0;) found |= pid == child;
  if (!found) FAIL("a child was lost");
}

void RunAnyBytes() {
  sigset_t ended;
  ::sigemptyset(&ended);
  ::sigaddset(&ended, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &ended, nullptr);
  for (uint64_t seed = 0; seed < 60; ++seed) RunAnyBytes(seed, ended);
}

}  // namespace

int main() {
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  ::mkdir("/proc", 0555);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  log_fd = ::open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  TakeSignals();
  UseSignalStack();
  std::vector<uint64_t> memory(1 << 17);
  Random random(1);
  for (uint64_t& word : memory) word = random.Next();

  const std::vector<uint64_t> gates = CheckMonitor();
  CheckKernel();
  CheckGatesOnAllProcessors(gates);
  CheckRegisters();
  CheckSystemCalls();
  CheckInstructions();
  RunAnyBytes();

  Random again(1);
  for (const uint64_t word : memory) {
    if (word != again.Next()) FAIL("the program's memory changed");
  }
  Log(6, "%lu attacks, %zu gate pages, %d failures", tried.load(), gates.size(), failures.load());
  if (failures == 0) ::reboot(RB_POWER_OFF);
  return 1;
}
