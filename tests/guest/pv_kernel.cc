#include "tests/guest/pv_kernel.h"

// Notes: the entry, and where physical address 0 is mapped.
asm(R"(
.section .note.Xen, "a", @note
  .long 4, 8, 1
  .asciz "Xen"
  .quad _start
  .long 4, 8, 3
  .asciz "Xen"
  .quad 0xffffffff80000000
.text
.globl _start, Resume0, Resume1
_start:
  mov %rsi, %rdi
  mov $(stacks + 32768), %rsp
  call SetUp
Resume0:
  mov $(stacks + 32768), %rsp
  xor %edi, %edi
  call Run
Resume1:
  mov $(stacks + 65536), %rsp
  mov $1, %edi
  call Run
)");

extern "C" {
void Resume0();
void Resume1();
alignas(16) char stacks[2 * kStackBytes];
}

namespace pv {
namespace {

constexpr uint64_t kTablePointerInStartInfo = 88;
constexpr uint64_t kCommandLineInStartInfo = 128;

struct Trap {
  uint8_t vector;
  uint8_t flags;
  uint16_t cs;
  uint32_t padding;
  uint64_t address;
};

Trap traps[2][33];  // up to one of zeroes
uint64_t argument[2][2];
alignas(kPage) uint64_t context[5168 / 8];  // vcpu_guest_context

uint64_t StackOf(uint64_t vcpu) { return AddressOf(stacks) + (vcpu + 1) * kStackBytes; }

}  // namespace

const char* CommandLine(const char* start_info) { return start_info + kCommandLineInStartInfo; }

uint64_t Root(const char* start_info) {
  return *reinterpret_cast<const uint64_t*>(start_info + kTablePointerInStartInfo) - kKernel;
}

uint64_t ResumeAddress(uint64_t vcpu) { return reinterpret_cast<uint64_t>(vcpu == 0 ? &Resume0 : &Resume1); }

void SetTraps(uint64_t vcpu, uint64_t handler) {
  constexpr uint8_t kEventsMasked = 4;
  for (uint8_t vector = 0; vector < 32; ++vector)
    traps[vcpu][vector] = {vector, kEventsMasked, 0, 0, handler};
  Hypercall(kSetTrapTable, AddressOf(traps[vcpu]));
}

void SetCallback(uint64_t vcpu, uint64_t what) {
  argument[vcpu][0] = what;
  argument[vcpu][1] = ResumeAddress(vcpu);
  Hypercall(kCallbackOp, 0, AddressOf(argument[vcpu]));
}

void SetKernelStack(uint64_t vcpu) { Hypercall(kStackSwitch, 0, StackOf(vcpu)); }

uint32_t BindEvents(uint64_t vcpu) {
  argument[vcpu][0] = vcpu << 32;  // virq 0, this vCPU
  Hypercall(kEventChannelOp, kBindVirq, AddressOf(argument[vcpu]));
  argument[vcpu][0] = vcpu;
  Hypercall(kEventChannelOp, kBindIpi, AddressOf(argument[vcpu]));
  return static_cast<uint32_t>(argument[vcpu][0] >> 32);
}

void MaskAll(bool masked) {
  for (uint64_t i = 0; i < 64; ++i) Mask()[i] = masked ? ~0ULL : 0;
}

void AllowEvents(uint64_t vcpu) {
  for (uint64_t i = 0; i < 2; ++i) Pending()[i] = 0;
  volatile uint8_t* const info = VcpuInfo(vcpu);
  *reinterpret_cast<volatile uint64_t*>(info + 8) = 0;  // evtchn_pending_sel
  info[0] = 0;                                          // evtchn_upcall_pending
  info[1] = 0;                                          // evtchn_upcall_mask
}

bool InitialiseSecondVcpu(uint64_t root) {
  // Indices of vcpu_guest_context, in words.
  constexpr int kRip = 81, kFlags = 83, kStack = 84, kKernelStack = 622, kRoot = 626;
  context[kRip] = ResumeAddress(1);
  context[kFlags] = 0x202;
  context[kStack] = context[kKernelStack] = StackOf(1);
  context[kRoot] = root;
  return Hypercall(kVcpuOp, kInitialise, 1, AddressOf(context)) == 0;
}

}  // namespace pv
