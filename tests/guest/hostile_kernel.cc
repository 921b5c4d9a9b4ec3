// A PV kernel that does its worst to the ring3 platform: hypercalls with any arguments, privileged
// instructions, and at higher levels of malice stores to shared_info, to the monitor's data, and mappings of
// the monitor's pages. The command line gives level and seed: "malice=N seed=TEXT" at its end. Ends with a
// power-off if it gets that far.
#include <cstdint>

asm(".section .note.Xen, \"a\", @note\n"
    ".long 4, 8, 1\n .asciz \"Xen\"\n .quad _start\n"              // ENTRY
    ".long 4, 8, 3\n .asciz \"Xen\"\n .quad 0xffffffff80000000\n"  // VIRT_BASE
    ".text\n .globl _start\n _start:\n mov %rsi, %rdi\n call ReadCommandLine\n"
    // Where all its traps and events lead: on with the next attack.
    ".globl Resume\n Resume:\n mov $(stack + 16384), %rsp\n call Attack\n ud2\n");

extern "C" void Resume();
extern "C" {
alignas(16) char stack[16384];
}

namespace {

constexpr uint64_t kMonitor = 0xffff808000000000;  // docs/ring3.md, "Address map"
constexpr uint64_t kCpuPage = kMonitor + 0x13000;
constexpr uint64_t kSharedInfo = kMonitor + 0x200000;
constexpr uint64_t kWindow = 0xe0000000;
constexpr uint64_t kCommandLineInStartInfo = 128;

constexpr uint64_t kMmuUpdate = 1;
constexpr uint64_t kUpdateVaMapping = 14;
constexpr uint64_t kIret = 23;
constexpr uint64_t kMmuextOp = 26;
constexpr uint64_t kSchedOp = 29;
constexpr uint64_t kShutdown = 2;

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

int64_t Hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  int64_t result;
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
               : "0"(number)
               : "rcx", "r11", "memory");
  return result;
}

// Numbers that mean something to somebody.
uint64_t Pick() {
  switch (Random() % 8) {
    case 0:
      return Random();
    case 1:
      return reinterpret_cast<uint64_t>(arguments) + Random() % sizeof(arguments) / 8 * 8;
    case 2:
      return Random() % 64;
    case 3:
      return kMonitor + Random() % 0x800000;
    case 4:
      return 0xffffffff80000000 + Random() % 0x80000000;
    case 5:
      return 0xffff810000000000 + Random() % 0x10000000;
    case 6:
      return Random() % 65536;
    default:
      return Random() % 65536 * 4096;
  }
}

void AnyHypercall() {
  const uint64_t number = Random() % 64;
  const uint64_t first = Pick();
  const bool pages = number == kMmuUpdate || number == kUpdateVaMapping || number == kMmuextOp;
  // Those that end or block the guest for good would hide the rest.
  if (number == kIret || number == kSchedOp || (pages && malice < kPageTables)) return;
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

// Takes back what an earlier attack may have made of the handlers.
void RegisterHandlers() {
  struct Trap {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    uint32_t padding;
    uint64_t address;
  };
  constexpr uint64_t kSetTrapTable = 0;
  constexpr uint64_t kCallbackOp = 30;
  const uint64_t resume = reinterpret_cast<uint64_t>(&Resume);
  static Trap table[33];
  for (uint8_t vector = 0; vector < 32; ++vector) table[vector] = {vector, 4, 0, 0, resume};
  Hypercall(kSetTrapTable, reinterpret_cast<uint64_t>(table), 0, 0, 0, 0);
  static uint64_t callback[2];
  callback[1] = resume;
  Hypercall(kCallbackOp, 0, reinterpret_cast<uint64_t>(callback), 0, 0, 0);
}

}  // namespace

extern "C" void ReadCommandLine(const char* start_info) {
  for (const char* c = start_info + kCommandLineInStartInfo; *c != 0; ++c) {
    state = state * 31 + static_cast<unsigned char>(*c);
    if (c[0] == 'e' && c[1] == '=' && c[2] >= '0' && c[2] <= '9') malice = static_cast<uint64_t>(c[2] - '0');
  }
}

extern "C" void Attack() {
  while (attacks < 3000) {
    if (++attacks % 8 == 1) RegisterHandlers();
    for (int j = 0; j < 4; ++j) arguments[Random() % 2048] = Pick();
    const uint64_t what = Random() % 16;
    if (what == 0 && malice >= kSharedMemory) {
      AnyStore(kSharedInfo);
    } else if (what == 1 && malice >= kMonitorData) {
      AnyStore(kCpuPage);
    } else if (what == 2 && malice >= kMonitorMappings) {
      arguments[0] = Pick() & ~7ULL;
      arguments[1] = (kWindow + Random() % 64 * 4096) | 7;
      Hypercall(kMmuUpdate, reinterpret_cast<uint64_t>(arguments), 1, 0, 0x7ff0, 0);
    } else if (what < 6) {
      AnyInstruction();
    } else {
      AnyHypercall();
    }
  }
  arguments[0] = 0;
  Hypercall(kSchedOp, kShutdown, reinterpret_cast<uint64_t>(arguments), 0, 0, 0);
}
