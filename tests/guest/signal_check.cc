// signal_check: what signal each instruction, memory access and hostile signal frame brings, a line each,
// from a process of its own. Says the same on every machine that runs Linux as it should: the test compares
// the guest with the host. Linked at a fixed address, and everything it looks at is mapped at fixed
// addresses.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

using namespace std::string_view_literals;

constexpr uint64_t kCode = 0x10000000;  // the instructions of a case; the next page is not mapped
constexpr uint64_t kData = 0x20000000;  // zeros
constexpr uint64_t kReadOnly = 0x20001000;
constexpr uint64_t kNoAccess = 0x20002000;
constexpr uint64_t kTruncated = 0x20003000;  // a mapping of a file that has become shorter
constexpr uint64_t kStack = 0x20010000;      // the stack of signal handlers
constexpr uint64_t kNowhere = 0x30000000;
constexpr uint64_t kKernel = 0xffffffff81000000;
constexpr uint64_t kNotCanonical = 0x1234567812345678;
constexpr size_t kPage = 4096;

struct Instructions {
  const char* name;
  std::string_view bytes;
  uint64_t rax = 0;
  uint64_t rcx = 0;
  uint64_t rdx = 0;
};

#define SET_FLAGS "\x50\x9d"                  // push %rax; popf
#define GET_FLAGS "\x9c\x58"                  // pushf; pop %rax
#define RESTORE_STACK "\x49\x8d\x64\x24\xf8"  // lea -8(%r12), %rsp
constexpr uint64_t kGetpid = 39;

constexpr Instructions kInstructions[] = {
    // Exceptions of the instruction itself.
    {"int3", "\xcc"sv},
    {"int 3, in two bytes", "\xcd\x03"sv},
    {"int 4", "\xcd\x04"sv},
    {"int 0", "\xcd\x00"sv},
    {"int 1", "\xcd\x01"sv},
    {"int 2", "\xcd\x02"sv},
    {"int 6", "\xcd\x06"sv},
    {"int 8", "\xcd\x08"sv},
    {"int 13", "\xcd\x0d"sv},
    {"int 14", "\xcd\x0e"sv},
    {"int 0x20", "\xcd\x20"sv},
    {"int 0x81", "\xcd\x81"sv},
    {"int 0xff", "\xcd\xff"sv},
    {"ud2", "\x0f\x0b"sv},
    {"ud1", "\x0f\xb9\xc0"sv},
    {"an opcode that is none", "\x06"sv},
    {"sysenter", "\x0f\x34"sv},
    {"sysret", "\x0f\x07"sv},
    {"division by zero", "\xf7\xf1"sv, 1, 0, 0},
    {"INT_MIN / -1", "\x99\xf7\xf9"sv, 0x80000000, 0xffffffff, 0},
    {"SSE zero divided by zero", "\x0f\xae\x10\x0f\x57\xc0\x0f\x57\xc9\xf3\x0f\x5e\xc1"sv, kData + 0x800},
    {"x87 division by zero", "\xd9\x28\xd9\xe8\xd9\xee\xde\xf9\x9b"sv, kData + 0x804},
    {"icebp", "\xf1"sv},
    // Privileged instructions.
    {"hlt", "\xf4"sv},
    {"cli", "\xfa"sv},
    {"sti", "\xfb"sv},
    {"in al, 0x60", "\xe4\x60"sv},
    {"in eax, dx", "\xed"sv, 0, 0, 0x3f8},
    {"out 3, al", "\xe6\x03"sv},
    {"out dx, al", "\xee"sv, 0, 0, 0x3f8},
    {"rep insb", "\xf3\x6c"sv, 0, 1, 0x60},
    {"mov rax, cr0", "\x0f\x20\xc0"sv},
    {"mov cr0, rax", "\x0f\x22\xc0"sv},
    {"mov rax, cr3", "\x0f\x20\xd8"sv},
    {"mov cr3, rax", "\x0f\x22\xd8"sv},
    {"mov rax, cr4", "\x0f\x20\xe0"sv},
    {"mov cr8, rax", "\x44\x0f\x22\xc0"sv},
    {"mov rax, dr7", "\x0f\x21\xf8"sv},
    {"mov dr7, rax", "\x0f\x23\xf8"sv},
    {"clts", "\x0f\x06"sv},
    {"lmsw", "\x0f\x01\xf0"sv},
    {"rdmsr", "\x0f\x32"sv, 0, 0xc0000082},
    {"wrmsr", "\x0f\x30"sv, 0, 0xc0000082},
    {"rdpmc", "\x0f\x33"sv},
    {"lgdt", "\x0f\x01\x10"sv, kData},
    {"lidt", "\x0f\x01\x18"sv, kData},
    {"lldt", "\x0f\x00\xd0"sv},
    {"ltr", "\x0f\x00\xd8"sv},
    {"invlpg", "\x0f\x01\x38"sv, kData},
    {"invd", "\x0f\x08"sv},
    {"wbinvd", "\x0f\x09"sv},
    {"swapgs", "\x0f\x01\xf8"sv},
    {"xsetbv", "\x0f\x01\xd1"sv},
    {"iretq with nothing to return to", "\x6a\x00\x6a\x00\x6a\x00\x6a\x00\x6a\x00\x48\xcf"sv},
    {"Xen's CPUID", "\x0f\x0bxen\x0f\xa2"sv},
    // Allowed ones.
    {"cpuid", "\x0f\xa2"sv},
    {"rdtsc", "\x0f\x31"sv},
    {"rdtscp", "\x0f\x01\xf9"sv},
    {"xgetbv", "\x0f\x01\xd0"sv},
    {"rdrand", "\x0f\xc7\xf0"sv},
    {"clflush", "\x0f\xae\x38"sv, kData},
    {"lahf", "\x9f"sv},
    {"pause", "\xf3\x90"sv},
    // Memory.
    {"read of nothing", "\x8a\x00"sv, kNowhere},
    {"write to nothing", "\x88\x00"sv, kNowhere},
    {"jump to nothing", "\xff\xe0"sv, kNowhere},
    {"read of address 8", "\x8a\x00"sv, 8},
    {"write to read-only memory", "\x88\x00"sv, kReadOnly},
    {"read-modify-write of read-only memory", "\xf0\xfe\x00"sv, kReadOnly},
    {"read without access", "\x8a\x00"sv, kNoAccess},
    {"jump to data", "\xff\xe0"sv, kData},
    {"read of the kernel", "\x8a\x00"sv, kKernel},
    {"write to the kernel", "\x88\x00"sv, kKernel},
    {"jump to the kernel", "\xff\xe0"sv, kKernel},
    {"read of no canonical address", "\x8a\x00"sv, kNotCanonical},
    {"write to no canonical address", "\x88\x00"sv, kNotCanonical},
    {"jump to no canonical address", "\xff\xe0"sv, kNotCanonical},
    {"push to no canonical address", "\x48\x89\xc4\x50"sv, kNotCanonical},
    {"push to nothing", "\x48\x89\xc4\x50"sv, kNowhere},
    {"system call with a stack at no canonical address",
     "\x48\x89\xc4\x48\x89\xd0\x0f\x05\x90\x90" RESTORE_STACK ""sv, kNotCanonical, 0, kGetpid},
    {"a hundred thousand turns with a stack at no canonical address",
     "\x48\x89\xc4\xff\xc9\x75\xfc" RESTORE_STACK ""sv, kNotCanonical, 100000},
    {"... and a system call", "\x48\x89\xc4\xff\xc9\x75\xfc\x48\x89\xd0\x0f\x05" RESTORE_STACK ""sv,
     kNotCanonical, 100000, kGetpid},
    {"... and a fault", "\x48\x89\xc4\xff\xc9\x75\xfc\x8a\x02" RESTORE_STACK ""sv, kNotCanonical, 100000,
     kNowhere},
    {"... and an int3", "\x48\x89\xc4\xff\xc9\x75\xfc\xcc" RESTORE_STACK ""sv, kNotCanonical, 100000,
     kNowhere},
    {"read of a truncated file", "\x8a\x00"sv, kTruncated},
    {"write to a truncated file", "\x88\x00"sv, kTruncated},
    {"aligned SSE load off its alignment", "\x0f\x28\x00"sv, kData + 4},
    {"load off its alignment with AC", "\x50\x9c\x58\x0d\x00\x00\x04\x00\x50\x9d\x58\x8b\x00"sv, kData + 1},
    {"a string store that runs into read-only memory", "\x48\x89\xd7\xf3\xaa"sv, 0, 2 * kPage, kData},
    // Single steps that the program takes by itself.
    {"trap flag", SET_FLAGS "\x90\x90"sv, 0x302},
    {"trap flag and a system call", SET_FLAGS "\x0f\x05\x90\x90"sv, 0x302},
    {"trap flag and a fault", SET_FLAGS "\x8a\x00"sv, 0x302},
    {"trap flag and an int3", SET_FLAGS "\xcc\x90"sv, 0x302},
    {"trap flag and a string store", "\x48\x89\xd7" SET_FLAGS "\xf3\xaa\x90"sv, 0x302, 16, kData},
    {"trap flag and cpuid", SET_FLAGS "\x0f\xa2\x90"sv, 0x302},
    {"trap flag and a load of ss", "\x8c\xd1" SET_FLAGS "\x8e\xd1\x90\x90"sv, 0x302},
    {"trap flag and a system call that ends the step", "\x50\x9d\x48\x89\xd0\x0f\x05\x90"sv, 0x302, 0,
     kGetpid},
    // Flags over a system call.
    {"direction flag and a system call", "\xfd\x0f\x05" GET_FLAGS "\xfc"sv, kGetpid},
    {"alignment check and a system call",
     "\x68\x02\x02\x04\x00\x9d\x0f\x05" GET_FLAGS "\x68\x02\x02\x00\x00\x9d"sv, kGetpid},
    {"ID flag and a system call", "\x68\x02\x02\x20\x00\x9d\x0f\x05" GET_FLAGS ""sv, kGetpid},
    {"IOPL cannot be set", "\x68\x02\x32\x00\x00\x9d" GET_FLAGS ""sv},
    // Selectors.
    {"mov ds, null", "\x8e\xd8"sv, 0},
    {"mov ds, the user's data", "\x8e\xd8"sv, 0x2b},
    {"mov ds, the kernel's data", "\x8e\xd8"sv, 0x18},
    {"mov ds, the task", "\x8e\xd8"sv, 0x40},
    {"mov ds, an LDT entry", "\x8e\xd8"sv, 0x7},
    {"mov ds, beyond the table", "\x8e\xd8"sv, 0xfff8},
    {"mov ss, null", "\x8e\xd0"sv, 3},
    {"mov ss, the user's data", "\x8e\xd0"sv, 0x2b},
    {"mov ss, code", "\x8e\xd0"sv, 0x33},
    {"mov cs", "\x8e\xc8"sv, 0x33},
    {"mov gs, the user's data", "\x8e\xe8"sv, 0x2b},
    {"far return to the user's code", "\xff\x30\xff\x70\x08\x48\xcb\x90"sv, kData + 0x810},
    {"far return to the kernel's code", "\x6a\x10\x68\x00\x00\x00\x10\x48\xcb"sv},
    {"far return to data", "\x6a\x2b\x68\x00\x00\x00\x10\x48\xcb"sv},
    {"far return to the null selector", "\x6a\x00\x68\x00\x00\x00\x10\x48\xcb"sv},
    {"far return to an LDT entry", "\x6a\x07\x68\x00\x00\x00\x10\x48\xcb"sv},
    {"far return beyond the table", "\x68\xf8\x7f\x00\x00\x68\x00\x00\x00\x10\x48\xcb"sv},
    // Calls to the page of vsyscalls.
    {"vsyscall time()", "\x31\xff\xff\xd0\x31\xc0"sv, 0xffffffffff600400},
    {"vsyscall getcpu()", "\x31\xff\x31\xf6\xff\xd0\x31\xc0"sv, 0xffffffffff600800},
    {"middle of a vsyscall", "\xff\xd0"sv, 0xffffffffff600401},
    {"read of the vsyscall page", "\x8a\x00"sv, 0xffffffffff600000},
};

// The 32-bit part of a CPU, entered by a far return to its code selector; the code after the 8 bytes of that
// is 32-bit. Hosts that run 32-bit programs do otherwise: for the guest alone.
#define TO_32_BITS "\x6a\x23\x6a\x00\x48\x89\x14\x24\x48\xcb"  // push $0x23; push $0; mov %rdx, (%rsp); lretq
constexpr Instructions kLegacy[] = {
    {"int 0x80", "\xcd\x80"sv, 20},
    {"32-bit code", TO_32_BITS "\x90\xcc"sv, 0, 0, kCode + 10},
    {"32-bit code, ud2", TO_32_BITS "\x0f\x0b"sv, 0, 0, kCode + 10},
    {"32-bit code, hlt", TO_32_BITS "\xf4"sv, 0, 0, kCode + 10},
    {"32-bit code, page fault", TO_32_BITS "\x8a\x00"sv, 0x100, 0, kCode + 10},
    {"32-bit code, int 0x80", TO_32_BITS "\xcd\x80"sv, 20, 0, kCode + 10},
    {"32-bit code, syscall", TO_32_BITS "\x0f\x05"sv, 20, 0, kCode + 10},
    {"32-bit code, sysenter", TO_32_BITS "\x0f\x34"sv, 20, 0, kCode + 10},
    {"32-bit code, an instruction of 32 bits", TO_32_BITS "\x40\x40\x0f\x0b"sv, 0x100, 0, kCode + 10},
    {"32-bit code, division by zero", TO_32_BITS "\xf7\xf1"sv, 1, 0, kCode + 10},
    {"32-bit code, an endless loop", TO_32_BITS "\xeb\xfe"sv, 1, 0, kCode + 10},
    {"32-bit code, back to 64 bits", TO_32_BITS "\xea\x11\x00\x00\x10\x33\x00\x0f\x0b"sv, 1, 0, kCode + 10},
};

const char* NameOf(int signal) {
  static char number[16];
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGTRAP:
      return "SIGTRAP";
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    default:
      std::snprintf(number, sizeof(number), "signal %d", signal);
      return number;
  }
}

void Say(const char* text, int length) {
  if (::write(STDOUT_FILENO, text, static_cast<size_t>(length)) != length) ::_exit(99);
}

// Reports and ends the case's process. On the alternate stack, as the program's may be gone.
extern "C" void OnSignal(int signal, siginfo_t* info, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  char line[256];
  const bool fault = registers[REG_TRAPNO] == 14;
  const int length = std::snprintf(
      line, sizeof(line), "%s code %d address %#llx rip %#llx trap %lld error %#llx cr2 %#llx%s\n",
      NameOf(signal), info->si_code, reinterpret_cast<unsigned long long>(info->si_addr), registers[REG_RIP],
      registers[REG_TRAPNO], registers[REG_ERR], fault ? registers[REG_CR2] : 0,
      here - kStack < 16 * kPage ? "" : ", not on its stack");
  Say(line, length);
  ::_exit(0);
}
// The handler as the kernel enters it: compiled code does not care for alignment, and AC may be set.
extern "C" void OnSignalAsItComes(int signal, siginfo_t* info, void* context);
asm("OnSignalAsItComes: pushf\n andl $~0x40000, (%rsp)\n popf\n jmp OnSignal\n");

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::exit(1);
}

void* MapAt(uint64_t address, size_t bytes, int protection, int fd = -1) {
  void* const wanted = reinterpret_cast<void*>(address);
  const int flags = MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  void* const mapped = ::mmap(wanted, bytes, protection, flags, fd, 0);
  Require(mapped == wanted, "mmap");
  return mapped;
}

void MapEverything() {
  MapAt(kCode, kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  uint8_t* const data = static_cast<uint8_t*>(MapAt(kData, kPage, PROT_READ | PROT_WRITE));
  const uint32_t mxcsr = 0;  // no exception masked
  std::memcpy(data + 0x800, &mxcsr, sizeof(mxcsr));
  const uint16_t control_word = 0x37b;
  std::memcpy(data + 0x804, &control_word, sizeof(control_word));
  const uint64_t far_target[2] = {0x33, kCode + 7};
  std::memcpy(data + 0x810, far_target, sizeof(far_target));
  MapAt(kReadOnly, kPage, PROT_READ);
  MapAt(kNoAccess, kPage, PROT_NONE);
  const int file = ::memfd_create("truncated", 0);
  Require(file >= 0 && ::ftruncate(file, kPage) == 0, "memfd");
  MapAt(kTruncated, kPage, PROT_READ | PROT_WRITE, file);
  Require(::ftruncate(file, 0) == 0, "ftruncate");
  MapAt(kStack, 16 * kPage, PROT_READ | PROT_WRITE);
  stack_t stack = {};
  stack.ss_sp = reinterpret_cast<void*>(kStack);
  stack.ss_size = 16 * kPage;
  Require(::sigaltstack(&stack, nullptr) == 0, "sigaltstack");
  struct sigaction action = {};
  action.sa_sigaction = OnSignalAsItComes;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGFPE}) ::sigaction(signal, &action, nullptr);
}

template <typename Act>
void InAProcess(const char* name, Act act) {
  char line[128];
  Say(line, std::snprintf(line, sizeof(line), "%s: ", name));
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(5);
    act();
    ::_exit(0);
  }
  int status = 0;
  Require(child > 0 && ::waitpid(child, &status, 0) == child, "waitpid");
  if (WIFSIGNALED(status)) {
    Say(line, std::snprintf(line, sizeof(line), "killed by %s\n", NameOf(WTERMSIG(status))));
  }
}

void Execute(const Instructions& instructions) {
  std::memcpy(reinterpret_cast<void*>(kCode), instructions.bytes.data(), instructions.bytes.size());
  *reinterpret_cast<uint8_t*>(kCode + instructions.bytes.size()) = 0xc3;
  uint64_t rax = instructions.rax, rcx = instructions.rcx, rdx = instructions.rdx;
  asm volatile("sub $128, %%rsp\n mov %%rsp, %%r12\n call *%%rsi\n add $128, %%rsp"
               : "+a"(rax), "+c"(rcx), "+d"(rdx)
               : "S"(kCode)
               : "rbx", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
  // What these leave in rax is the same everywhere: flags.
  const bool flags = instructions.bytes.find(GET_FLAGS) != std::string_view::npos;
  char line[64];
  Say(line, flags ? std::snprintf(
                        line, sizeof(line), "no signal, flags %#llx\n",
                        static_cast<unsigned long long>(rax & ~uint64_t{0x8d5}))  // but those of arithmetic
                  : std::snprintf(line, sizeof(line), "no signal\n"));
}

// ---- signal frames that the handler has made hostile ----

struct Frame {
  const char* name;
  int which;  // index in gregs
  uint64_t value;
};
constexpr uint64_t Selectors(uint64_t cs, uint64_t ss) { return cs | ss << 48; }
constexpr Frame kFrames[] = {
    {"return to no canonical address", REG_RIP, kNotCanonical},
    {"return to the kernel", REG_RIP, kKernel},
    {"return to the end of the user's half", REG_RIP, 0x7ffffffff000},
    {"return to nothing", REG_RIP, kNowhere},
    {"return with a stack at no canonical address", REG_RSP, kNotCanonical},
    {"return with a stack in the kernel", REG_RSP, kKernel},
    {"return with IOPL 3, NT, VM, VIF", REG_EFL, 0xfb202},
    {"return with the kernel's code selector", REG_CSGSFS, Selectors(0x10, 0x2b)},
    {"return with a data selector as code", REG_CSGSFS, Selectors(0x2b, 0x2b)},
    {"return with the null selector as code", REG_CSGSFS, Selectors(0, 0x2b)},
    {"return with an LDT selector as code", REG_CSGSFS, Selectors(0x7, 0x2b)},
    {"return with a code selector as stack", REG_CSGSFS, Selectors(0x33, 0x33)},
    {"return with the kernel's stack selector", REG_CSGSFS, Selectors(0x33, 0x18)},
};

const Frame* frame = nullptr;

// Where the frame leads when nothing is wrong with it: one instruction that uses the stack.
extern "C" void AfterReturn();
asm(".globl AfterReturn\nAfterReturn: push %rax\n jmp AfterPush\n");
extern "C" [[noreturn]] void AfterPush() {
  uint64_t flags = 0;
  asm volatile("pushf\n pop %0\n push $0x202\n popf" : "=r"(flags));
  char line[64];
  Say(line, std::snprintf(line, sizeof(line), "no signal, flags %#llx\n",
                          static_cast<unsigned long long>(flags & ~uint64_t{0x8d5})));
  ::_exit(0);
}

void OnUsr1(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RIP] = reinterpret_cast<greg_t>(AfterReturn);
  registers[REG_RSP] = static_cast<greg_t>(kData + 0x1000);
  registers[frame->which] = static_cast<greg_t>(frame->value);
}

void ReturnBy(const Frame& hostile) {
  frame = &hostile;
  struct sigaction action = {};
  action.sa_sigaction = OnUsr1;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGUSR1, &action, nullptr);
  ::raise(SIGUSR1);
}

}  // namespace

int main(int argc, char** argv) {
  MapEverything();
  if (argc > 1 && argv[1] == "legacy"sv) {
    for (const Instructions& instructions : kLegacy) {
      InAProcess(instructions.name, [&] { Execute(instructions); });
    }
    return 0;
  }
  for (const Instructions& instructions : kInstructions) {
    InAProcess(instructions.name, [&] { Execute(instructions); });
  }
  for (const Frame& hostile : kFrames) {
    InAProcess(hostile.name, [&] { ReturnBy(hostile); });
  }
  return 0;
}
