// A PV kernel that, while it runs, writes over its own monitor: every page of the platform's window, through
// a mapping of its own, while its two vCPUs make hypercalls, take interrupts and faults, change page tables
// and go to user mode and back. "seed=N" at the end of the command line. Ends with a power-off if it gets
// that far.
#include "tests/guest/pv_kernel.h"

asm(R"(
.text
// What its user does: one of these, each at a multiple of 16, and for as long as it is left to.
.balign 4096
.globl user_code
user_code:
  syscall
.balign 16
  int3
.balign 16
  ud2
.balign 16
  mov 0xffffffff81000000, %rax
.balign 16
  mov 8, %eax
.balign 16
1: jmp 1b
.balign 16
  push %rax
.balign 16
  xor %ecx, %ecx
  div %ecx
.balign 4096
)");

extern "C" char user_code[];

namespace {

using pv::Hypercall;
using pv::kAlias;
using pv::kPage;
using pv::kSharedInfo;
using pv::kWindow;

// docs/ring3.md, "Address map": where what lies in the window.
constexpr uint64_t kBlocks = 0x10000;
constexpr uint64_t kBlockBytes = 0x10000;
constexpr uint64_t kTables = 0x210000;
constexpr uint64_t kUserRing0 = 0x400000;
constexpr uint64_t kM2p = 0x600000;
constexpr uint64_t kLargePages = 4;  // of the window, with this guest's memory
constexpr uint64_t kUser = 0x400000;
constexpr uint64_t kUserCodes = 8;
constexpr uint64_t kHealthySteps = 100;
constexpr uint64_t kSteps = 1500;

alignas(kPage) uint64_t alias3[512], alias2[512], user4[2][512], user3[512], user2[512], user1[512],
    scratch[2][512];
uint64_t argument[2][64];
uint64_t root;  // guest-physical
uint64_t seed = 0x9e3779b97f4a7c15;
uint64_t random_state[2];
uint64_t steps[2];
uint32_t ipi_port[2];

class Vcpu {
 public:
  explicit Vcpu(uint64_t index) : index_(index), argument_(argument[index]) {}

  uint64_t Random() {
    uint64_t& state = random_state[index_];
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1d >> 8;
  }

  uint64_t Argument() const { return pv::AddressOf(argument_); }

  // Takes back, as far as it can be, what was written over.
  void Register() {
    pv::SetTraps(index_, pv::ResumeAddress(index_));
    pv::SetCallback(index_, pv::kOnEvent);
    pv::SetCallback(index_, pv::kOnSyscall);
    pv::SetKernelStack(index_);
    argument_[0] = pv::kNewUserRoot;
    argument_[1] = pv::PhysicalOf(user4[index_]) / kPage;
    Hypercall(pv::kMmuextOp, Argument(), 1, 0, pv::kSelf);
  }
  void BindEvents() {
    ipi_port[index_] = pv::BindEvents(index_);
    pv::MaskAll(false);
  }

  void Work() {
    switch (Random() % 10) {
      case 0:
        *reinterpret_cast<volatile uint64_t*>(Random() % 2 == 0 ? 16 : kAlias + 0x40000000) = 1;
        break;
      case 1:
        Hypercall(pv::kXenVersion);  // the VMM's
        break;
      case 2:
        argument_[0] = pv::PhysicalOf(&user1[16 + Random() % 16]);
        argument_[1] = pv::PhysicalOf(scratch[0]) | (Random() % 2 == 0 ? 7 : 0);
        Hypercall(pv::kMmuUpdate, Argument(), 1, 0, pv::kSelf);
        break;
      case 3:
        Hypercall(pv::kUpdateVaMapping, reinterpret_cast<uint64_t>(scratch[index_]),
                  pv::PhysicalOf(scratch[index_]) | 7,
                  2);  // flushes
        break;
      case 4:
        asm volatile("int3");
        break;
      case 5:
        asm volatile("rdmsr" : : "c"(0xc0000080) : "eax", "edx");
        break;
      case 6:
        SetTimer(Random() % 2 == 0 ? 1 : ~0ULL);  // a deadline that has passed, and one that never comes
        break;
      case 7:
        argument_[0] = ipi_port[1 - index_];
        Hypercall(pv::kEventChannelOp, pv::kSend, Argument());
        break;
      default:
        GoToUser();
        break;
    }
  }

  // Something somewhere in the window.
  void Scribble() {
    uint64_t offset = Random() % 8 * kPage;
    switch (Random() % 8) {
      case 0:
        break;  // text
      case 1:
        offset = 0x200000 + Random() % 3072;
        break;
      case 2:
        offset = kTables + Random() % 12 * kPage;
        break;
      case 3:
        offset = kM2p + Random() % (kLargePages * 0x200000 - kM2p - kPage);
        break;
      case 4:
      case 5:
        offset = kBlocks + Random() % 2 * kBlockBytes + 0x3000;  // Cpu: what is read most
        break;
      default:
        offset = kBlocks + Random() % 2 * kBlockBytes + Random() % 11 * kPage;
        if (Random() % 2 == 0) offset += kUserRing0;
        break;
    }
    offset = (offset & ~(kPage - 1)) + Random() % (Random() % 2 == 0 ? 0x680 : kPage - 512);
    auto* const bytes = reinterpret_cast<volatile uint8_t*>(kAlias + offset);
    auto* const word = reinterpret_cast<volatile uint64_t*>(kAlias + (offset & ~7ULL));
    switch (Random() % 8) {
      case 0:
        *bytes = static_cast<uint8_t>(*bytes ^ 1 << Random() % 8);
        break;
      case 1:
        *word = 0;
        break;
      case 2:
        *word =
            Random() % 2 == 0 ? pv::kKernel + Random() % 0x2000000 : pv::kDirectMap + Random() % 0x4000000;
        break;
      case 3:
        *word = pv::kMonitor + Random() % 0x800000;
        break;
      case 4:
        *word = (kWindow + Random() % 0x800 * kPage) | (Random() & 0xfff);
        break;
      case 5:
        for (uint64_t i = 0; i < 256; ++i) bytes[i] = static_cast<uint8_t>(Random());
        break;
      default:
        *word = Random() * 0x100 ^ Random();
        break;
    }
  }

 private:
  // Guest system time by the clock in the first vcpu_info.
  static uint64_t Now() {
    const auto* const time = reinterpret_cast<const volatile uint64_t*>(kSharedInfo + 32);
    const auto multiplier = static_cast<uint32_t>(time[3]);
    const auto shift = static_cast<int8_t>(time[3] >> 32);
    const uint64_t ticks = __builtin_ia32_rdtsc() - time[1];
    const uint64_t shifted = shift < 0 ? ticks >> (-shift & 63) : ticks << (shift & 63);
    return time[2] + static_cast<uint64_t>(static_cast<unsigned __int128>(shifted) * multiplier >> 32);
  }
  void SetTimer(uint64_t deadline) {
    argument_[0] = deadline;
    argument_[1] = 0;
    Hypercall(pv::kVcpuOp, pv::kSetTimer, index_, Argument());
  }
  void GoToUser() {
    uint64_t frame[9] = {1, 2, 3, 0, kUser + Random() % kUserCodes * 16, 0x33, 0x202, Random(), 0x2b};
    constexpr uint64_t kCs = 5;  // says that it is the user who is returned to
    const uint64_t wild = Random() % 64;
    if (wild < 9 && wild != kCs) frame[wild] = Random() << 8;
    SetTimer(Now() + 100'000);
    asm volatile("mov %0, %%rsp\n mov $23, %%eax\n syscall" : : "r"(frame) : "memory");
  }

  const uint64_t index_;
  uint64_t* const argument_;
};

void MakeTables() {
  auto* const kernel4 = reinterpret_cast<volatile uint64_t*>(pv::kKernel + root);
  for (uint64_t i = 0; i < kLargePages; ++i) alias2[i] = (kWindow + i * 0x200000) | 0x87;
  alias3[0] = pv::PhysicalOf(alias2) | 7;
  kernel4[pv::kAliasSlot] = pv::PhysicalOf(alias3) | 7;

  user1[0] = pv::PhysicalOf(user_code) | 7;
  user2[2] = pv::PhysicalOf(user1) | 7;
  user3[0] = pv::PhysicalOf(user2) | 7;
  for (auto& table : user4) table[0] = pv::PhysicalOf(user3) | 7;
}

}  // namespace

extern "C" void SetUp(const char* start_info) {
  for (const char* c = pv::CommandLine(start_info); *c != 0; ++c) {
    seed = seed * 31 + static_cast<unsigned char>(*c);
  }
  random_state[0] = seed | 1;
  random_state[1] = ~seed | 1;
  root = pv::Root(start_info);
  MakeTables();
  pv::InitialiseSecondVcpu(root);
  Hypercall(pv::kVcpuOp, pv::kUp, 1);
}

extern "C" [[noreturn]] void Run(uint64_t index) {
  Vcpu vcpu(index);
  for (;;) {
    const uint64_t step = steps[index]++;
    if (step == 0) vcpu.BindEvents();
    if (step % 16 == 0) vcpu.Register();
    pv::AllowEvents(index);
    if (step > kHealthySteps && vcpu.Random() % 8 == 0) vcpu.Scribble();
    if (index == 0 && step > kSteps) {
      argument[0][0] = 0;
      Hypercall(pv::kSchedOp, pv::kShutdown, pv::AddressOf(argument[0]));  // power-off
    }
    vcpu.Work();
  }
}
