#include "tests/guest/isolation/gates.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stop_token>
#include <thread>

#include "tests/guest/isolation/program.h"

namespace isolation {
namespace {

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

// Sleeps shortly on this processor, all the time, so that events meet a program at each place where it can
// be.
void BringEvents(const std::stop_token& stop) {
  constexpr timespec kShortly = {.tv_sec = 0, .tv_nsec = 50'000};
  while (!stop.stop_requested()) ::nanosleep(&kShortly, nullptr);
}

void CheckGates(const std::vector<uint64_t>& gates, uint64_t seed) {
  UseSignalStack();
  const std::jthread events(BringEvents);
  std::vector<char> stack(1 << 16);
  stack_to_land_on = (reinterpret_cast<uint64_t>(stack.data()) + stack.size()) & ~uint64_t{15};
  Random random(seed);
  for (const uint64_t page : gates) {
    for (uint64_t byte = 0; byte < kPage; ++byte) LeapTo(page + byte, random);
    // Where gates have been and may be: the first bytes.
    for (int i = 0; i < 1500; ++i) LeapTo(page + random.Next() % 33, random);
  }
}

}  // namespace

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

}  // namespace isolation
