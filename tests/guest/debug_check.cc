// debug_check: what a debugger sees: single steps, breakpoints, registers, system call stops, seccomp and
// perf events, a line each. Says the same on every machine that runs Linux as it should: the test compares
// the guest with the host. Linked at a fixed address; the code that is debugged lies at a fixed address, too.
#include <asm/ldt.h>
#include <elf.h>
#include <linux/filter.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>

namespace {

using namespace std::string_view_literals;

constexpr uint64_t kCode = 0x10000000;
constexpr uint64_t kNotCanonical = 0x1234567812345678;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::exit(1);
}

void* Pointer(uint64_t value) { return reinterpret_cast<void*>(value); }

// A child that executes `code` at kCode with the registers of its choice, stopped before its first
// instruction.
pid_t Traced(std::string_view code) {
  const pid_t child = ::fork();
  if (child == 0) {
    void* const page = ::mmap(Pointer(kCode), 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    Require(page == Pointer(kCode), "mmap");
    std::memcpy(page, code.data(), code.size());
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    ::_exit(98);
  }
  int status = 0;
  Require(::waitpid(child, &status, 0) == child && WIFSTOPPED(status), "stop of the child");
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr,
           Pointer(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP));
  user_regs_struct registers = {};
  ::ptrace(PTRACE_GETREGS, child, nullptr, &registers);
  registers.rip = kCode;
  registers.rax = registers.rbx = registers.rcx = registers.rdx = registers.rdi = registers.rsi = 0;
  registers.orig_rax = ~0ull;
  registers.eflags = 0x202;
  Require(::ptrace(PTRACE_SETREGS, child, nullptr, &registers) == 0, "PTRACE_SETREGS");
  return child;
}
void End(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}
user_regs_struct Registers(pid_t child) {
  user_regs_struct registers = {};
  ::ptrace(PTRACE_GETREGS, child, nullptr, &registers);
  return registers;
}
// Lets the child go on until it stops again: "SIGTRAP/2", the signal and its code, or how it ended.
std::string GoOn(pid_t child, __ptrace_request request, int signal = 0) {
  if (::ptrace(request, child, nullptr, Pointer(static_cast<uint64_t>(signal))) != 0)
    return std::strerror(errno);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return "lost";
  if (WIFEXITED(status)) return "exit " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return "killed by " + std::to_string(WTERMSIG(status));
  siginfo_t info = {};
  ::ptrace(PTRACE_GETSIGINFO, child, nullptr, &info);
  return std::to_string(status >> 8) + "/" + std::to_string(info.si_code);
}

// Every step's rip, as an offset, until the code's end or a signal that is none of a debugger's.
void Steps(const char* name, std::string_view code, __ptrace_request request = PTRACE_SINGLESTEP) {
  const pid_t child = Traced(code);
  std::printf("%s:", name);
  for (int i = 0; i < 40; ++i) {
    const std::string stop = GoOn(child, request);
    if (stop.find('/') == std::string::npos) {
      std::printf(" %s", stop.c_str());
      break;
    }
    const user_regs_struct registers = Registers(child);
    std::printf(" %#llx", registers.rip - kCode);
    if (stop != "5/2") std::printf("(%s)", stop.c_str());
    if (registers.rip == kCode + code.size() || (!stop.starts_with("5/") && !stop.starts_with("133/"))) break;
  }
  std::printf("\n");
  End(child);
}

#define SYSCALL_GETPID "\xb8\x27\x00\x00\x00\x0f\x05"

void CheckSteps() {
  Steps("steps over nothing special", "\x90\x48\x31\xc0\x90"sv);
  Steps("steps over a system call", "\x90" SYSCALL_GETPID "\x90"sv);
  Steps("steps over two system calls", SYSCALL_GETPID SYSCALL_GETPID ""sv);
  Steps("steps over a failing system call", "\x48\xc7\xc0\xff\xff\xff\x7f\x0f\x05\x90"sv);
  Steps("steps over a string store", "\xbf\x00\x08\x00\x10\xb9\x04\x00\x00\x00\xf3\xaa\x90"sv);
  Steps("steps over popf", "\x9c\x9d\x90\x9c\x58\x90"sv);
  Steps("steps over popf with a trap flag", "\x68\x02\x03\x00\x00\x9d\x90\x90"sv);
  Steps("steps over a load of ss", "\x8c\xd0\x8e\xd0\x90\x90"sv);
  Steps("steps over cpuid and rdtsc", "\x0f\xa2\x0f\x31\x90"sv);
  Steps("steps over an int3", "\x90\xcc\x90"sv);
  Steps("steps over a fault", "\x90\x8a\x04\x25\x08\x00\x00\x00\x90"sv);
  Steps("steps over a ud2", "\x90\x0f\x0b\x90"sv);
  Steps("steps over int 0x81", "\x90\xcd\x81\x90"sv);
  Steps("steps over hlt", "\x90\xf4\x90"sv);
  Steps("steps over a first touch of a page",
        "\x48\x81\xec\x00\x00\x01\x00\x50\x58\x48\x81\xc4\x00\x00\x01\x00\x90"sv);
  Steps("steps over exit", "\xb8\x3c\x00\x00\x00\xbf\x05\x00\x00\x00\x0f\x05"sv);
  Steps("system call stops", "\x90" SYSCALL_GETPID SYSCALL_GETPID "\xcc"sv, PTRACE_SYSCALL);
  Steps("emulated system calls", "\x90" SYSCALL_GETPID SYSCALL_GETPID "\xcc"sv, PTRACE_SYSEMU);
}

void CheckBreakpoint() {
  const pid_t child = Traced("\x90\x90\x90\x48\xff\xc3\x90\xcc"sv);  // nops, inc rbx
  const long before = ::ptrace(PTRACE_PEEKTEXT, child, Pointer(kCode + 3), nullptr);
  ::ptrace(PTRACE_POKETEXT, child, Pointer(kCode + 3),
           Pointer((static_cast<uint64_t>(before) & ~0xffull) | 0xcc));
  const std::string hit = GoOn(child, PTRACE_CONT);
  user_regs_struct registers = Registers(child);
  std::printf("breakpoint: %s at %#llx\n", hit.c_str(), registers.rip - kCode);
  ::ptrace(PTRACE_POKETEXT, child, Pointer(kCode + 3), Pointer(static_cast<uint64_t>(before)));
  registers.rip = kCode + 3;
  registers.rbx = 41;
  registers.r15 = 0xfedcba9876543210;
  ::ptrace(PTRACE_SETREGS, child, nullptr, &registers);
  const std::string end = GoOn(child, PTRACE_CONT);
  registers = Registers(child);
  std::printf("behind it: %s at %#llx rbx %llu r15 %#llx\n", end.c_str(), registers.rip - kCode,
              registers.rbx, registers.r15);
  End(child);
}

void CheckSystemCallStops() {
  const pid_t child = Traced(SYSCALL_GETPID "\xcc"sv);
  const std::string entry = GoOn(child, PTRACE_SYSCALL);
  user_regs_struct registers = Registers(child);
  std::printf("entry: %s at %#llx number %lld rax %lld\n", entry.c_str(), registers.rip - kCode,
              static_cast<long long>(registers.orig_rax), static_cast<long long>(registers.rax));
  registers.orig_rax = ~0ull;  // no call
  registers.rax = 1234;
  ::ptrace(PTRACE_SETREGS, child, nullptr, &registers);
  const std::string exit = GoOn(child, PTRACE_SYSCALL);
  registers = Registers(child);
  std::printf("exit of a call left out: %s rax %lld\n", exit.c_str(), static_cast<long long>(registers.rax));
  registers.rax = 77;
  ::ptrace(PTRACE_SETREGS, child, nullptr, &registers);
  const std::string stepped = GoOn(child, PTRACE_SINGLESTEP);
  registers = Registers(child);
  std::printf("step from a system call's stop: %s at %#llx rax %lld\n", stepped.c_str(),
              registers.rip - kCode, static_cast<long long>(registers.rax));
  End(child);
}

void CheckVectorRegisters() {
  const pid_t child = Traced("\x0f\x28\xc8\xcc"sv);  // movaps %xmm0, %xmm1
  user_fpregs_struct fp = {};
  ::ptrace(PTRACE_GETFPREGS, child, nullptr, &fp);
  fp.xmm_space[0] = 0x12345678;
  fp.xmm_space[3] = 0x9abcdef0;
  std::printf("PTRACE_SETFPREGS: %s\n",
              ::ptrace(PTRACE_SETFPREGS, child, nullptr, &fp) == 0 ? "set" : std::strerror(errno));
  const std::string stop = GoOn(child, PTRACE_CONT);
  ::ptrace(PTRACE_GETFPREGS, child, nullptr, &fp);
  std::printf("%s xmm1 %#x %#x\n", stop.c_str(), fp.xmm_space[4], fp.xmm_space[7]);
  alignas(64) static uint8_t state[16384];
  iovec area = {state, sizeof(state)};
  const bool got = ::ptrace(PTRACE_GETREGSET, child, Pointer(NT_X86_XSTATE), &area) == 0;
  uint64_t features = 0;
  std::memcpy(&features, state + 464, sizeof(features));
  std::printf(
      "NT_X86_XSTATE: %s, set again: %s, AVX and AVX-512 %#llx\n", got ? "got" : std::strerror(errno),
      ::ptrace(PTRACE_SETREGSET, child, Pointer(NT_X86_XSTATE), &area) == 0 ? "yes" : std::strerror(errno),
      static_cast<unsigned long long>(features & 0xe7));
  End(child);
}

void CheckBadRegisters() {
  struct Bad {
    const char* name;
    unsigned long long user_regs_struct::*which;
    unsigned long long value;
  };
  const Bad kBad[] = {
      {"rip", &user_regs_struct::rip, kNotCanonical},
      {"rsp", &user_regs_struct::rsp, kNotCanonical},
      {"kernel's cs", &user_regs_struct::cs, 0x10},
      {"other cs", &user_regs_struct::cs, 0x2b},
      {"kernel's ss", &user_regs_struct::ss, 0x18},
      {"flags", &user_regs_struct::eflags, 0x7fb202},
      {"fs base", &user_regs_struct::fs_base, kNotCanonical},
      {"gs base", &user_regs_struct::gs_base, 0xffffffff81000000},
      {"kernel's ds", &user_regs_struct::ds, 0x18},
      {"gs", &user_regs_struct::gs, 0x2b},
  };
  for (const Bad& bad : kBad) {
    const pid_t child = Traced("\x50\xcc"sv);
    user_regs_struct registers = Registers(child);
    registers.*bad.which = bad.value;
    const bool set = ::ptrace(PTRACE_SETREGS, child, nullptr, &registers) == 0;
    std::printf("%s set to %#llx: %s", bad.name, bad.value, set ? "taken" : std::strerror(errno));
    if (set) std::printf(", then %s", GoOn(child, PTRACE_CONT).c_str());
    std::printf("\n");
    End(child);
  }
}

void CheckAttach() {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) asm volatile("pause");
  }
  int status = 0;
  ::ptrace(PTRACE_ATTACH, child, nullptr, nullptr);
  ::waitpid(child, &status, 0);
  std::printf("attach to a loop: stopped by %d", WSTOPSIG(status));
  std::printf(", step %s", GoOn(child, PTRACE_SINGLESTEP).c_str());
  ::ptrace(PTRACE_DETACH, child, nullptr, nullptr);
  ::ptrace(PTRACE_SEIZE, child, nullptr, nullptr);
  ::ptrace(PTRACE_INTERRUPT, child, nullptr, nullptr);
  ::waitpid(child, &status, 0);
  std::printf(", interrupt %#x\n", status >> 8);
  End(child);
}

// ---- seccomp ----

volatile sig_atomic_t sigsys_call = 0;
volatile sig_atomic_t sigsys_code = 0;
void OnSigsys(int, siginfo_t* info, void*) {
  sigsys_call = info->si_syscall;
  sigsys_code = info->si_code;
}

// What happens at getppid() under a filter that answers it with `action`.
void Seccomp(const char* name, uint32_t action) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    struct sigaction handler = {};
    handler.sa_sigaction = OnSigsys;
    handler.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSYS, &handler, nullptr);
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {std::size(filter), filter};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) ::_exit(97);
    errno = 0;
    ::syscall(SYS_getppid);
    ::_exit(sigsys_call == SYS_getppid ? 10 + sigsys_code : errno);
  }
  ::waitpid(child, nullptr, 0);
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, Pointer(PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP));
  std::printf("seccomp, %s:", name);
  for (int i = 0, signal = 0; i < 5; ++i) {
    const std::string stop = GoOn(child, PTRACE_CONT, signal);
    std::printf(" %s", stop.c_str());
    if (stop.find('/') == std::string::npos) break;
    signal = std::atoi(stop.c_str()) == SIGSYS ? SIGSYS : 0;
  }
  std::printf("\n");
}

void CheckSeccomp() {
  Seccomp("an error", SECCOMP_RET_ERRNO | 33);
  Seccomp("a trap", SECCOMP_RET_TRAP | 5);
  Seccomp("the tracer", SECCOMP_RET_TRACE | 7);
  Seccomp("the end", SECCOMP_RET_KILL_PROCESS);
}

// ---- perf's software events ----

int64_t CountOf(uint64_t event, void (*work)()) {
  perf_event_attr attributes = {};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof(attributes);
  attributes.config = event;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  const long fd = ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
  if (fd < 0) return -errno;
  work();
  int64_t count = 0;
  if (::read(static_cast<int>(fd), &count, sizeof(count)) != sizeof(count)) count = -1;
  ::close(static_cast<int>(fd));
  return count;
}

void Spin() {
  timespec start = {}, now = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
  do {
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  } while ((now.tv_sec - start.tv_sec) * 1'000'000'000 + now.tv_nsec - start.tv_nsec < 20'000'000);
}
void TouchPages() {
  constexpr size_t kBytes = 16 * 4096;
  char* const memory =
      static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (size_t at = 0; at < kBytes; at += 4096) *const_cast<volatile char*>(memory + at) = 1;
  ::munmap(memory, kBytes);
}

void CheckPerf() {
  const auto say = [](const char* name, int64_t count, int64_t least) {
    std::printf("perf, %s: %s\n", name,
                count < 0        ? std::strerror(static_cast<int>(-count))
                : count >= least ? "counted"
                                 : "too few");
  };
  say("task-clock", CountOf(PERF_COUNT_SW_TASK_CLOCK, Spin), 15'000'000);
  say("cpu-clock", CountOf(PERF_COUNT_SW_CPU_CLOCK, Spin), 15'000'000);
  say("page-faults", CountOf(PERF_COUNT_SW_PAGE_FAULTS, TouchPages), 1);
  say("cpu-migrations", CountOf(PERF_COUNT_SW_CPU_MIGRATIONS, TouchPages), 0);
}

// What the platform hasn't got: hardware breakpoints and segments of a program's own.
void CheckMissing() {
  perf_event_attr attributes = {};
  attributes.type = PERF_TYPE_BREAKPOINT;
  attributes.size = sizeof(attributes);
  attributes.bp_type = HW_BREAKPOINT_X;
  attributes.bp_addr = kCode;
  attributes.bp_len = sizeof(long);
  attributes.exclude_kernel = 1;
  std::printf("perf breakpoint: %s\n",
              ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0) < 0 ? std::strerror(errno) : "taken");
  const pid_t child = Traced("\xcc"sv);
  const auto poke = [child](size_t index, uint64_t value) {
    return ::ptrace(PTRACE_POKEUSER, child, Pointer(offsetof(user, u_debugreg) + index * sizeof(long)),
                    Pointer(value));
  };
  std::printf("ptrace breakpoint: %s\n",
              poke(0, kCode) != 0 || poke(7, 1) != 0 ? std::strerror(errno) : "taken");
  End(child);
  user_desc segment = {};
  segment.limit = 0xfffff;
  segment.seg_32bit = 1;
  std::printf("modify_ldt: %s\n",
              ::syscall(SYS_modify_ldt, 1, &segment, sizeof(segment)) < 0 ? std::strerror(errno) : "taken");
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc > 1 && argv[1] == "missing"sv) {
    CheckMissing();
    return 0;
  }
  CheckSteps();
  CheckBreakpoint();
  CheckSystemCallStops();
  CheckVectorRegisters();
  CheckBadRegisters();
  CheckAttach();
  CheckSeccomp();
  CheckPerf();
  return 0;
}
