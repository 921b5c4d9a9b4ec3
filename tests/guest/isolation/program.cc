#include "tests/guest/isolation/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace isolation {

std::atomic<int> failures = 0;
std::atomic<uint64_t> tried = 0;
constinit thread_local sigjmp_buf after = {};
constinit thread_local volatile int caught = 0;
constinit thread_local ucontext_t context = {};

namespace {

int log_fd = -1;

// No mask is kept and none restored: a probe costs a fault and no system call.
void OnSignal(int signal, siginfo_t*, void* interrupted) {
  asm volatile("push $0x202\n popfq" : : : "memory", "cc");  // AC, NT and the like stay on else
  caught = signal;
  std::memcpy(&context, interrupted, sizeof(context));
  siglongjmp(after, 1);
}

}  // namespace

void OpenLog() { log_fd = ::open("/dev/kmsg", O_WRONLY | O_CLOEXEC); }

void Log(int level, const char* format, ...) {
  char line[256];
  int length = std::snprintf(line, sizeof(line), "<%d>isolation_check: ", level);
  va_list arguments;
  va_start(arguments, format);
  length += std::vsnprintf(line + length, sizeof(line) - static_cast<size_t>(length), format, arguments);
  va_end(arguments);
  const size_t bytes = std::min(static_cast<size_t>(length), sizeof(line) - 1);
  if (::write(log_fd, line, bytes) < 0) ++failures;
}

void TakeSignals() {
  struct sigaction action = {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGTRAP, SIGFPE, SIGILL, SIGBUS, SIGALRM}) {
    ::sigaction(signal, &action, nullptr);
  }
}

void UseSignalStack() {
  constexpr size_t kBytes = 1 << 16;
  stack_t stack = {};
  stack.ss_sp = std::malloc(kBytes);
  stack.ss_size = kBytes;
  ::sigaltstack(&stack, nullptr);
}

}  // namespace isolation
