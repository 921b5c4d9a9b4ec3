// The hardware platform: entered by the 64-bit boot protocol, with the first 4 GiB mapped as they are and
// interrupts off. There is one vCPU.
#include "tests/attack/guest/attacker.h"

asm(R"(
.text
.globl _start
_start:
  mov $(stack + 32768), %rsp
  mov %rsi, %rdi
  call SetUp
  xor %edi, %edi
  call Run
)");

extern "C" {
alignas(16) char stack[32768];
void ReadCommandLine(const char* line, uint64_t has_second);
}

namespace attack {
namespace {

constexpr uint64_t kCommandLineInBootParams = 0x228;
constexpr uint64_t kLocalApic = 0xfee00000;

}  // namespace

uint64_t PhysicalOf(const volatile void* object) { return reinterpret_cast<uint64_t>(object); }
volatile uint8_t* At(uint64_t physical) { return reinterpret_cast<volatile uint8_t*>(physical); }

void StartSecondVcpu() {}
void AllowInterrupts(uint64_t) {}
void Yield() {}
void TouchFarAddresses() {}

// To ourselves, by the local APIC; they stay pending.
void Interrupt(uint64_t, uint64_t random) {
  constexpr uint32_t kFixedToSelf = 1 << 18 | 1 << 14;
  WriteAt<uint32_t>(kLocalApic + 0x300, kFixedToSelf | static_cast<uint32_t>(32 + random % 224));
}

void Halt(uint64_t) {
  for (;;) asm volatile("cli\n hlt");
}

extern "C" void SetUp(const char* boot_params) {
  const uint32_t line = *reinterpret_cast<const uint32_t*>(boot_params + kCommandLineInBootParams);
  ReadCommandLine(reinterpret_cast<const char*>(static_cast<uint64_t>(line)), 0);
}

}  // namespace attack
