// What all parts of isolation_check share: how it tells of failures, and how it survives its attacks.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace isolation {

constexpr uint64_t kPage = 4096;
// docs/ring3.md, "Address map", and the kernel's Documentation/arch/x86/x86_64/mm.rst
constexpr uint64_t kUpperHalf = 0xffff800000000000;
constexpr uint64_t kMonitorDirectMap = 0xffff810000000000;
constexpr uint64_t kKernelDirectMap = 0xffff888000000000;
constexpr uint64_t kKernelImage = 0xffffffff80000000;
constexpr uint64_t kNotCanonical = 0x1234567812345678;

constexpr uint64_t kFlagsNobodyGets = 0x1a3000;  // IOPL, VM, VIF, VIP

extern std::atomic<int> failures;
extern std::atomic<uint64_t> tried;

// From then on Log() writes to the kernel's log.
void OpenLog();
__attribute__((format(printf, 2, 3))) void Log(int level, const char* format, ...);
#define FAIL(...) (++isolation::failures, isolation::Log(1, __VA_ARGS__))

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

// Each thread's own.
extern constinit thread_local sigjmp_buf after;
extern constinit thread_local volatile int caught;
extern constinit thread_local ucontext_t context;  // of the last signal

// The signals that an attack may end with lead to `after` from now on.
void TakeSignals();
// Each thread's own: a signal must be told of whatever rsp is.
void UseSignalStack();

template <typename Act>
int SignalOf(Act act) {
  caught = 0;
  if (sigsetjmp(after, 0) == 0) act();
  return caught;
}

}  // namespace isolation
