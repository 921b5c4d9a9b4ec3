// The ring3 platform: a PV kernel.
#include "tests/attack/guest/attacker.h"

asm(R"(
.section .note.Xen, "a", @note
  .long 4, 8, 1
  .asciz "Xen"
  .quad _start
  .long 4, 8, 3
  .asciz "Xen"
  .quad 0xffffffff80000000
.text
.globl _start
_start:
  mov %rsi, %rdi
  mov $(stacks + 32768), %rsp
  call SetUp
.globl Resume0, Resume1, Trap
Resume0:  // where a vCPU's events lead
  mov $(stacks + 32768), %rsp
  xor %edi, %edi
  call Run
Resume1:
  mov $(stacks + 65536), %rsp
  mov $1, %edi
  call Run
Trap:
  mov $(stacks + 32768), %rsp
  call Trapped
)");

extern "C" {
void Resume0();
void Resume1();
void Trap();
void ReadCommandLine(const char* line, uint64_t has_second);
alignas(16) char stacks[2 * 32768];
}

namespace attack {
namespace {

constexpr uint64_t kKernel = 0xffffffff80000000;
constexpr uint64_t kSharedInfo = 0xffff808000200000;  // docs/ring3.md, "Address map"
constexpr uint64_t kLargePage = 0x200000;
constexpr uint64_t kTablePointerInStartInfo = 88;
constexpr uint64_t kCommandLineInStartInfo = 128;
// Where all addresses below 4 GiB are mapped, and behind them some far ones.
constexpr uint64_t kAliasSlot = 300;
constexpr uint64_t kAlias = 0xffff000000000000 | kAliasSlot << 39;
constexpr uint64_t kNearGigabytes = 4;
constexpr uint64_t kFar = kAlias + kNearGigabytes * (1 << 30);
constexpr uint64_t kFarStep = 1ULL << 31;

alignas(4096) uint64_t alias3[512], alias2[kNearGigabytes + 1][512];
alignas(4096) uint64_t context[5168 / 8];  // vcpu_guest_context
uint64_t argument[2][8];
uint64_t root;  // guest-physical
uint32_t ipi_port[2];

int64_t Hypercall(uint64_t number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0) {
  int64_t result;
  asm volatile("syscall"
               : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
               : "0"(number)
               : "rcx", "r8", "r10", "r11", "memory");
  return result;
}
constexpr uint64_t kSetTrapTable = 0, kStackSwitch = 3, kVcpuOp = 24, kSchedOp = 29, kCallbackOp = 30,
                   kEventChannelOp = 32;

uint64_t ArgumentOf(uint64_t vcpu) { return reinterpret_cast<uint64_t>(argument[vcpu]); }

void RegisterHandlers(uint64_t vcpu) {
  struct Handler {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    uint32_t padding;
    uint64_t address;
  };
  static Handler traps[2][33];
  for (uint8_t vector = 0; vector < 32; ++vector) {
    traps[vcpu][vector] = {vector, 4, 0, 0, reinterpret_cast<uint64_t>(&Trap)};
  }
  Hypercall(kSetTrapTable, reinterpret_cast<uint64_t>(traps[vcpu]));
  argument[vcpu][0] = 0;  // event
  argument[vcpu][1] = reinterpret_cast<uint64_t>(vcpu == 0 ? &Resume0 : &Resume1);
  Hypercall(kCallbackOp, 0, ArgumentOf(vcpu));
  Hypercall(kStackSwitch, 0, reinterpret_cast<uint64_t>(stacks) + (vcpu + 1) * 32768);
}

void BindEvents(uint64_t vcpu) {
  argument[vcpu][0] = vcpu << 32;  // virq 0, this vCPU
  Hypercall(kEventChannelOp, 1, ArgumentOf(vcpu));
  argument[vcpu][0] = vcpu;
  Hypercall(kEventChannelOp, 7, ArgumentOf(vcpu));  // bind_ipi
  ipi_port[vcpu] = static_cast<uint32_t>(argument[vcpu][0] >> 32);
}

volatile uint64_t* Mask() { return reinterpret_cast<volatile uint64_t*>(kSharedInfo + 2560); }
volatile uint64_t* Pending() { return reinterpret_cast<volatile uint64_t*>(kSharedInfo + 2048); }
volatile uint8_t* VcpuInfo(uint64_t vcpu) {
  return reinterpret_cast<volatile uint8_t*>(kSharedInfo + 64 * vcpu);
}

void MapAliases() {
  for (uint64_t i = 0; i < kNearGigabytes * 512; ++i) alias2[i / 512][i % 512] = i * kLargePage | 0x87;
  for (uint64_t i = 0; i < 512; ++i) alias2[kNearGigabytes][i] = (i + 2) * kFarStep | 0x87;
  for (uint64_t i = 0; i <= kNearGigabytes; ++i) alias3[i] = PhysicalOf(alias2[i]) | 7;
  reinterpret_cast<volatile uint64_t*>(kKernel + root)[kAliasSlot] = PhysicalOf(alias3) | 7;
}

}  // namespace

uint64_t PhysicalOf(const volatile void* object) { return reinterpret_cast<uint64_t>(object) - kKernel; }
volatile uint8_t* At(uint64_t physical) { return reinterpret_cast<volatile uint8_t*>(kAlias + physical); }

void StartSecondVcpu() { Hypercall(kVcpuOp, 1, 1); }  // up; an error where there is none

void AllowInterrupts(uint64_t vcpu) {
  static bool bound;
  if (vcpu == 1 && !bound) {
    bound = true;
    RegisterHandlers(1);
    BindEvents(1);
  }
  for (uint64_t i = 0; i < 64; ++i) Mask()[i] = 0;
  for (uint64_t i = 0; i < 2; ++i) Pending()[i] = 0;
  volatile uint8_t* const info = VcpuInfo(vcpu);
  *reinterpret_cast<volatile uint64_t*>(info + 8) = 0;
  info[0] = 0;
  info[1] = 0;
}

void Interrupt(uint64_t vcpu, uint64_t random) {
  constexpr uint64_t kSend = 4, kUnmask = 9, kSetTimer = 8;
  switch (random % 4) {
    case 0:
      argument[vcpu][0] = ipi_port[random >> 8 & 1];
      Hypercall(kEventChannelOp, kSend, ArgumentOf(vcpu));
      break;
    case 1:
      argument[vcpu][0] = random >> 8 & 63;
      Hypercall(kEventChannelOp, kUnmask, ArgumentOf(vcpu));
      break;
    case 2:
      argument[vcpu][0] = 1;  // a deadline that has passed
      argument[vcpu][1] = 0;
      Hypercall(kVcpuOp, kSetTimer, vcpu, ArgumentOf(vcpu));
      break;
    default:
      argument[vcpu][0] = random;  // any port
      Hypercall(kEventChannelOp, kSend, ArgumentOf(vcpu));
      break;
  }
}

void Yield() { Hypercall(kSchedOp, 0); }

void TouchFarAddresses() {
  for (uint64_t i = 0; i < 512; ++i) {
    auto* const word = reinterpret_cast<volatile uint64_t*>(kFar + i * kLargePage);
    *word = *word;
  }
}

void Halt(uint64_t vcpu) {
  constexpr uint64_t kStopTimer = 9, kBlock = 1;
  Hypercall(kVcpuOp, kStopTimer, vcpu);
  for (;;) {
    VcpuInfo(vcpu)[1] = 1;
    for (uint64_t i = 0; i < 64; ++i) Mask()[i] = ~0ULL;
    *reinterpret_cast<volatile uint64_t*>(VcpuInfo(vcpu) + 8) = 0;
    VcpuInfo(vcpu)[0] = 0;
    Hypercall(kSchedOp, kBlock);
  }
}

extern "C" void SetUp(const char* start_info) {
  root = *reinterpret_cast<const uint64_t*>(start_info + kTablePointerInStartInfo) - kKernel;
  MapAliases();
  RegisterHandlers(0);
  BindEvents(0);
  // Indices of vcpu_guest_context (Xen's public/arch-x86/xen.h), in words.
  constexpr int kRip = 81, kFlags = 83, kStack = 84, kKernelStack = 622, kRoot = 626;
  context[kRip] = reinterpret_cast<uint64_t>(&Resume1);
  context[kFlags] = 0x202;
  context[kStack] = context[kKernelStack] = reinterpret_cast<uint64_t>(stacks) + 65536;
  context[kRoot] = root;
  constexpr uint64_t kInitialise = 0;
  const bool has_second = Hypercall(kVcpuOp, kInitialise, 1, reinterpret_cast<uint64_t>(context)) == 0;
  ReadCommandLine(start_info + kCommandLineInStartInfo, has_second ? 1 : 0);
}

}  // namespace attack
