#include "tests/guest/isolation/instructions.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <vector>

#include "tests/guest/isolation/program.h"

namespace isolation {
namespace {

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
  return static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RIP]) == end ? 0 : signal;
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

}  // namespace

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

void RunAnyBytes() {
  sigset_t ended;
  ::sigemptyset(&ended);
  ::sigaddset(&ended, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &ended, nullptr);
  for (uint64_t seed = 0; seed < 60; ++seed) RunAnyBytes(seed, ended);
}

}  // namespace isolation
