// A PV kernel that does its worst to the ring3 platform: hypercalls with any arguments, privileged
// instructions, and at higher levels of malice stores to shared_info, to the monitor's data, and mappings of
// the monitor's pages. The command line gives level and seed: "malice=N seed=TEXT" at its end. Ends with a
// power-off if it gets that far.
#include "tests/guest/pv_kernel.h"

namespace {

using pv::Hypercall;
using pv::kMonitor;

constexpr uint64_t kCpuPage = kMonitor + 0x13000;

// What each level of malice adds.
enum Malice { kCalls, kSharedMemory, kPageTables, kMonitorData, kMonitorMappings };

alignas(4096) uint64_t arguments[4 * 512];
uint64_t state = 0x9e3779b97f4a7c15;
uint64_t malice;
int attacks;

uint64_t Random() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// Numbers that mean something to somebody.
uint64_t Pick() {
  switch (Random() % 8) {
    case 0:
      return Random();
    case 1:
      return pv::AddressOf(arguments) + Random() % sizeof(arguments) / 8 * 8;
    case 2:
      return Random() % 64;
    case 3:
      return kMonitor + Random() % 0x800000;
    case 4:
      return pv::kKernel + Random() % 0x80000000;
    case 5:
      return pv::kDirectMap + Random() % 0x10000000;
    case 6:
      return Random() % 65536;
    default:
      return Random() % 65536 * 4096;
  }
}

void AnyHypercall() {
  const uint64_t number = Random() % 64;
  const uint64_t first = Pick();
  const bool pages = number == pv::kMmuUpdate || number == pv::kUpdateVaMapping || number == pv::kMmuextOp;
  // Those that end or block the guest for good would hide the rest.
  if (number == pv::kIret || number == pv::kSchedOp || (pages && malice < kPageTables)) return;
  Hypercall(number, first, Pick(), Pick(), Pick(), Pick());
}

void AnyInstruction() {
  switch (Random() % 4) {
    case 0:
      asm volatile("rdmsr" : : "c"(static_cast<uint32_t>(Random())) : "eax", "edx");
      break;
    case 1:
      asm volatile("wrmsr"
                   :
                   : "c"(static_cast<uint32_t>(0xc0000100 + Random() % 3)),
                     "a"(static_cast<uint32_t>(Pick())), "d"(static_cast<uint32_t>(Random())));
      break;
    case 2:
      asm volatile("in %%dx, %%al" : : "d"(static_cast<uint16_t>(Random())) : "rax");
      break;
    default: {
      uint32_t leaf = static_cast<uint32_t>(Random());
      uint32_t subleaf = static_cast<uint32_t>(Random() % 64);
      asm volatile(".byte 0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2"
                   : "+a"(leaf), "+c"(subleaf)
                   :
                   : "rbx", "rdx");
      break;
    }
  }
}

void AnyStore(uint64_t page) { *reinterpret_cast<volatile uint64_t*>(page + Random() % 512 * 8) = Pick(); }

// Takes back what an earlier attack may have made of the handlers. All lead to the next attack.
void RegisterHandlers() {
  pv::SetTraps(0, pv::ResumeAddress(0));
  pv::SetCallback(0, pv::kOnEvent);
}

}  // namespace

extern "C" void SetUp(const char* start_info) {
  for (const char* c = pv::CommandLine(start_info); *c != 0; ++c) {
    state = state * 31 + static_cast<unsigned char>(*c);
    if (c[0] == 'e' && c[1] == '=' && c[2] >= '0' && c[2] <= '9') malice = static_cast<uint64_t>(c[2] - '0');
  }
}

extern "C" [[noreturn]] void Run(uint64_t) {
  while (attacks < 3000) {
    if (++attacks % 8 == 1) RegisterHandlers();
    for (int j = 0; j < 4; ++j) arguments[Random() % 2048] = Pick();
    const uint64_t what = Random() % 16;
    if (what == 0 && malice >= kSharedMemory) {
      AnyStore(pv::kSharedInfo);
    } else if (what == 1 && malice >= kMonitorData) {
      AnyStore(kCpuPage);
    } else if (what == 2 && malice >= kMonitorMappings) {
      arguments[0] = Pick() & ~7ULL;
      arguments[1] = (pv::kWindow + Random() % 64 * 4096) | 7;
      Hypercall(pv::kMmuUpdate, pv::AddressOf(arguments), 1, 0, pv::kSelf);
    } else if (what < 6) {
      AnyInstruction();
    } else {
      AnyHypercall();
    }
  }
  arguments[0] = 0;
  for (;;) Hypercall(pv::kSchedOp, pv::kShutdown, pv::AddressOf(arguments));  // power-off
}
