// What kernels of ours without Linux share that run on the ring3 platform: how Xen's PV interface starts
// them, and the hypercalls by which they get on their feet. Numbers and layouts are those of Xen's public
// headers.
#pragma once

#include <cstdint>

// The kernel's own part: once, on vCPU 0...
extern "C" void SetUp(const char* start_info);
// ... and where each vCPU goes on, on an empty stack: from there, from its start, and from its events.
extern "C" [[noreturn]] void Run(uint64_t vcpu);

// One a vCPU.
constexpr uint64_t kStackBytes = 32768;
extern "C" char stacks[2 * kStackBytes];

namespace pv {

constexpr uint64_t kKernel = 0xffffffff80000000;
constexpr uint64_t kPage = 4096;
// docs/ring3.md, "Address map"
constexpr uint64_t kWindow = 0xe0000000;
constexpr uint64_t kMonitor = 0xffff808000000000;
constexpr uint64_t kSharedInfo = kMonitor + 0x200000;
constexpr uint64_t kDirectMap = 0xffff810000000000;
// A slot of the top table that is the kernel's to fill.
constexpr uint64_t kAliasSlot = 300;
constexpr uint64_t kAlias = 0xffff000000000000 | kAliasSlot << 39;

// Hypercalls, and below each what it can be asked for.
constexpr uint64_t kSetTrapTable = 0;
constexpr uint64_t kMmuUpdate = 1;
constexpr uint64_t kStackSwitch = 3;
constexpr uint64_t kUpdateVaMapping = 14;
constexpr uint64_t kXenVersion = 17;
constexpr uint64_t kIret = 23;
constexpr uint64_t kVcpuOp = 24;
constexpr uint64_t kInitialise = 0, kUp = 1, kSetTimer = 8, kStopTimer = 9;
constexpr uint64_t kMmuextOp = 26;
constexpr uint64_t kNewUserRoot = 15;
constexpr uint64_t kSchedOp = 29;
constexpr uint64_t kYield = 0, kBlock = 1, kShutdown = 2;
constexpr uint64_t kCallbackOp = 30;
constexpr uint64_t kOnEvent = 0, kOnSyscall = 2;
constexpr uint64_t kEventChannelOp = 32;
constexpr uint64_t kBindVirq = 1, kSend = 4, kBindIpi = 7, kUnmask = 9;
constexpr uint64_t kSelf = 0x7ff0;  // DOMID_SELF

inline int64_t Hypercall(uint64_t number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0,
                         uint64_t e = 0) {
  int64_t result;
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
               : "0"(number)
               : "rcx", "r11", "memory");
  return result;
}

inline uint64_t AddressOf(const volatile void* object) { return reinterpret_cast<uint64_t>(object); }
inline uint64_t PhysicalOf(const volatile void* object) { return AddressOf(object) - kKernel; }

// Of start_info.
const char* CommandLine(const char* start_info);
uint64_t Root(const char* start_info);  // of the first page tables, guest-physical

uint64_t ResumeAddress(uint64_t vcpu);  // leads to Run()
// Of all vectors.
void SetTraps(uint64_t vcpu, uint64_t handler);
// `what`: kOnEvent, kOnSyscall. Goes to Run().
void SetCallback(uint64_t vcpu, uint64_t what);
void SetKernelStack(uint64_t vcpu);
// Timer and interprocessor events; the port of the latter.
uint32_t BindEvents(uint64_t vcpu);

// In shared_info.
inline volatile uint64_t* Mask() { return reinterpret_cast<volatile uint64_t*>(kSharedInfo + 2560); }
inline volatile uint64_t* Pending() { return reinterpret_cast<volatile uint64_t*>(kSharedInfo + 2048); }
inline volatile uint8_t* VcpuInfo(uint64_t vcpu) {
  return reinterpret_cast<volatile uint8_t*>(kSharedInfo + 64 * vcpu);
}
void MaskAll(bool masked);
// Those that wait are forgotten.
void AllowEvents(uint64_t vcpu);

// Has it begin at Run(1) once it is brought up; false: there is none.
bool InitialiseSecondVcpu(uint64_t root);

}  // namespace pv
