// Runs as the first process of a guest on the ring3 platform and attacks the platform's own memory and gates,
// the way a hostile program in the guest would. Powers the machine off when all went as it should; else it
// says what did not on the kernel's log and exits, and the kernel panics.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <initializer_list>

namespace {

// docs/ring3.md, "Address map"
constexpr uint64_t kMonitor = 0xffff808000000000;
constexpr uint64_t kGatePage = kMonitor + 0x14000;
constexpr uint64_t kInjectGate = kGatePage + 0x10;
constexpr uint64_t kContinue = kGatePage + 0x20;  // the last two instructions of a system call
constexpr uint64_t kContinueEnd = kGatePage + 0x28;
constexpr uint64_t kMonitorPages[] = {
    0x0,     0x1000,  0x10000,  0x11000,  0x12000,  0x13000,  0x15000,    0x16000,    0x17000,    0x18000,
    0x19000, 0x1a000, 0x200000, 0x210000, 0x400000, 0x600000, 0x1fe00000, 0x1fe10000, 0x1fe11000, 0x1fe19000};
constexpr uint64_t kDirectMap = 0xffff810000000000;
constexpr uint64_t kKernelText = 0xffffffff81000000;
constexpr uint64_t kKernelDirectMap = 0xffff888000001000;
constexpr uint64_t kFixmap = 0xffffffffff5fe000;
constexpr uint64_t kNotCanonical = 0x1234567812345678;

int log_fd = -1;
int failures = 0;
sigjmp_buf after_signal;
volatile int caught = 0;

void Fail(const char* what, uint64_t where, int got) {
  char line[160];
  const int length = std::snprintf(line, sizeof(line), "<1>ring3_check: %s at 0x%llx: signal %d\n", what,
                                   static_cast<unsigned long long>(where), got);
  if (::write(log_fd, line, static_cast<size_t>(length)) < 0) ++failures;
  ++failures;
}

void OnSignal(int signal) {
  caught = signal;
  siglongjmp(after_signal, 1);
}

template <typename Act>
void Expect(int signal, const char* what, uint64_t where, Act act) {
  caught = 0;
  if (sigsetjmp(after_signal, 1) == 0) act(where);
  if (caught != signal) Fail(what, where, caught);
}

void ReadAt(uint64_t address) { static_cast<void>(*reinterpret_cast<volatile char*>(address)); }
void WriteAt(uint64_t address) { *reinterpret_cast<volatile char*>(address) = 1; }
void JumpTo(uint64_t address) { reinterpret_cast<void (*)()>(address)(); }

// Enters the system call gate as if `syscall` had, but with a return address and flags of our own.
void EnterGate(uint64_t return_address) {
  asm volatile("mov $0x202, %%r11\n jmp *%%rdx"
               :
               : "a"(39), "c"(return_address), "d"(kGatePage)
               : "r11", "memory");
}

void CheckMemory() {
  for (const uint64_t page : kMonitorPages) {
    Expect(SIGSEGV, "read of the monitor", kMonitor + page, ReadAt);
    Expect(SIGSEGV, "write to the monitor", kMonitor + page, WriteAt);
    Expect(SIGSEGV, "jump into the monitor", kMonitor + page, JumpTo);
  }
  for (const uint64_t address : {kDirectMap, kKernelText, kKernelDirectMap, kFixmap, kNotCanonical}) {
    Expect(SIGSEGV, "read", address, ReadAt);
    Expect(SIGSEGV, "write", address, WriteAt);
  }
  Expect(SIGSEGV, "write to the gates", kGatePage, WriteAt);
  for (uint64_t i = 0; i < 4096; ++i) {
    if (kGatePage + i >= kContinue && kGatePage + i < kContinueEnd) continue;
    if (*reinterpret_cast<const volatile unsigned char*>(kGatePage + i) != 0xcc)
      Fail("no int3", kGatePage + i, 0);
  }
}

// Goes on where a system call ends, with a place to return to of our own.
void JumpToContinue(uint64_t return_address) {
  asm volatile("jmp *%%rdx" : : "c"(return_address), "d"(kContinue) : "r11", "memory");
}

// What a system call leaves in the registers that it may change: nothing of the kernel's.
void CheckRegistersAfterSystemCall() {
  for (const uint64_t flags : {0x202UL, 0x246UL, 0x297UL, 0xad7UL}) {
    uint64_t rcx = 0;
    uint64_t r11 = 0;
    uint64_t here = 0;
    uint64_t after = 0;
    asm volatile(
        "push %4\n popfq\n mov $110, %%eax\n syscall\n"
        "1: pushfq\n pop %3\n lea 1b(%%rip), %2\n mov %%r11, %1\n mov %%rcx, %0\n cld"
        : "=&r"(rcx), "=&r"(r11), "=&r"(here), "=&r"(after)
        : "r"(flags)
        : "rax", "rcx", "r11", "memory", "cc");
    if (rcx != here || after != flags) Fail("rcx or flags after a system call", rcx, 0);
    if (r11 != 0x246 && r11 != flags) Fail("r11 after a system call", r11, 0);
  }
}

volatile int interruptions = 0;
void OnAlarm(int, siginfo_t*, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto rip = static_cast<uint64_t>(registers[REG_RIP]);
  if (rip >> 47 != 0) Fail("interrupted at", rip, SIGALRM);
  interruptions = interruptions + 1;
}

// A signal meets a program behind its system call or before it, never on the way.
void CheckInterruptions() {
  struct sigaction action = {};
  action.sa_sigaction = OnAlarm;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGALRM, &action, nullptr);
  const itimerval often = {{0, 150}, {0, 150}};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  while (interruptions < 2000) {
    uint64_t rcx = 1;
    uint64_t r11 = 1;
    asm volatile("mov $110, %%eax\n syscall\n mov %%rcx, %0\n mov %%r11, %1"
                 : "=&r"(rcx), "=&r"(r11)
                 :
                 : "rax", "rcx", "r11", "memory");
    // Flags, whose upper half is always clear, and never a page-aligned root: bit 1 of flags is always set.
    if (r11 >> 22 != 0 || (r11 & 2) == 0) Fail("r11 after an interrupted system call", r11, 0);
  }
  const itimerval never = {};
  ::setitimer(ITIMER_REAL, &never, nullptr);
}

void CheckGates() {
  for (const uint64_t address : {kNotCanonical, kKernelText, kMonitor + 0x10000}) {
    Expect(SIGSEGV, "end of a system call that leads to the kernel", address, JumpToContinue);
  }
  Expect(SIGTRAP, "jump to the inject gate", kInjectGate, JumpTo);
  Expect(SIGTRAP, "jump to an int3", kGatePage + 0x123, JumpTo);
  Expect(SIGSEGV, "system call that returns nowhere", kNotCanonical, EnterGate);
  Expect(SIGSEGV, "system call that returns to the kernel", kKernelText, EnterGate);

  long id = 0;
  asm volatile("lea 1f(%%rip), %%rcx\n mov $0x202, %%r11\n jmp *%%rdx\n 1:"
               : "=a"(id)
               : "a"(39), "d"(kGatePage)
               : "rcx", "r11", "memory");
  if (id != ::getpid()) Fail("system call through the gate", kGatePage, static_cast<int>(id));

  // IOPL 3 in the flags must not come back.
  Expect(SIGSEGV, "cli with IOPL 3", kGatePage, [](uint64_t gate) {
    asm volatile("lea 1f(%%rip), %%rcx\n mov $0x3202, %%r11\n jmp *%%rdx\n 1: cli"
                 :
                 : "a"(39), "d"(gate)
                 : "rcx", "r11", "memory");
  });
}

void CheckInstructions() {
  const auto run = [](int signal, const char* what, void (*act)(uint64_t)) { Expect(signal, what, 0, act); };
  run(SIGTRAP, "int3", [](uint64_t) { asm volatile("int3"); });
  run(SIGILL, "ud2", [](uint64_t) { asm volatile("ud2"); });
  run(SIGFPE, "division by zero", [](uint64_t) {
    asm volatile("xor %%ecx, %%ecx\n mov $1, %%eax\n cltd\n idiv %%ecx" : : : "eax", "ecx", "edx");
  });
  run(SIGSEGV, "hlt", [](uint64_t) { asm volatile("hlt"); });
  run(SIGSEGV, "in", [](uint64_t) { asm volatile("in $0x60, %%al" : : : "eax"); });
  // The stubs' own way to the VMM.
  run(SIGSEGV, "out", [](uint64_t) { asm volatile("out %%al, $3" : :); });
  run(SIGSEGV, "mov to cr3", [](uint64_t) { asm volatile("mov %%rax, %%cr3" : : "a"(0)); });
  run(SIGSEGV, "rdmsr", [](uint64_t) { asm volatile("rdmsr" : : "c"(0xc0000082) : "eax", "edx"); });
  run(SIGILL, "Xen's CPUID", [](uint64_t) { asm volatile(".byte 0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2"); });
}

// The platform takes the vsyscall page out of users' page tables; the kernel then answers on the fault.
void CheckVsyscall() {
  constexpr uint64_t kVsyscallTime = 0xffffffffff600400;
  Expect(0, "vsyscall time()", kVsyscallTime, [](uint64_t address) {
    if (reinterpret_cast<long (*)(long*)>(address)(nullptr) <= 0) Fail("vsyscall's answer", address, 0);
  });
}

void CheckSingleStep() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    for (int i = 0; i < 3; ++i) ::getppid();
    ::_exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  int steps = 0;
  while (WIFSTOPPED(status) && steps < 100000) {
    ::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    ++steps;
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 7 || steps < 20) Fail("single-stepping", 0, status);
}

}  // namespace

int main() {
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  log_fd = ::open("/dev/kmsg", O_WRONLY);
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  for (const int signal : {SIGSEGV, SIGTRAP, SIGFPE, SIGILL, SIGBUS}) ::sigaction(signal, &action, nullptr);
  CheckMemory();
  CheckGates();
  CheckRegistersAfterSystemCall();
  CheckInterruptions();
  CheckInstructions();
  CheckVsyscall();
  CheckSingleStep();
  if (failures == 0) ::reboot(RB_POWER_OFF);
  return 1;
}
