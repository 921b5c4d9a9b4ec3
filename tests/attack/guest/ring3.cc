// The ring3 platform: a PV kernel.
#include "tests/attack/guest/attacker.h"
#include "tests/guest/pv_kernel.h"

asm(R"(
.text
.globl Trap
Trap:
  mov $(stacks + 32768), %rsp
  call Trapped
)");

extern "C" {
void Trap();
void ReadCommandLine(const char* line, uint64_t has_second);
}

namespace attack {
namespace {

constexpr uint64_t kLargePage = 0x200000;
// At pv::kAlias all addresses below 4 GiB are mapped, and behind them some far ones.
constexpr uint64_t kNearGigabytes = 4;
constexpr uint64_t kFar = pv::kAlias + kNearGigabytes * (1 << 30);
constexpr uint64_t kFarStep = 1ULL << 31;

alignas(4096) uint64_t alias3[512], alias2[kNearGigabytes + 1][512];
uint64_t argument[2][8];
uint64_t root;  // guest-physical
uint32_t ipi_port[2];

uint64_t ArgumentOf(uint64_t vcpu) { return pv::AddressOf(argument[vcpu]); }

void RegisterHandlers(uint64_t vcpu) {
  pv::SetTraps(vcpu, reinterpret_cast<uint64_t>(&Trap));
  pv::SetCallback(vcpu, pv::kOnEvent);
  pv::SetKernelStack(vcpu);
}

void MapAliases() {
  for (uint64_t i = 0; i < kNearGigabytes * 512; ++i) alias2[i / 512][i % 512] = i * kLargePage | 0x87;
  for (uint64_t i = 0; i < 512; ++i) alias2[kNearGigabytes][i] = (i + 2) * kFarStep | 0x87;
  for (uint64_t i = 0; i <= kNearGigabytes; ++i) alias3[i] = PhysicalOf(alias2[i]) | 7;
  reinterpret_cast<volatile uint64_t*>(pv::kKernel + root)[pv::kAliasSlot] = PhysicalOf(alias3) | 7;
}

}  // namespace

uint64_t PhysicalOf(const volatile void* object) { return pv::PhysicalOf(object); }
volatile uint8_t* At(uint64_t physical) { return reinterpret_cast<volatile uint8_t*>(pv::kAlias + physical); }

void StartSecondVcpu() { pv::Hypercall(pv::kVcpuOp, pv::kUp, 1); }  // up; an error where there is none

void AllowInterrupts(uint64_t vcpu) {
  static bool bound;
  if (vcpu == 1 && !bound) {
    bound = true;
    RegisterHandlers(1);
    ipi_port[1] = pv::BindEvents(1);
  }
  pv::MaskAll(false);
  pv::AllowEvents(vcpu);
}

void Interrupt(uint64_t vcpu, uint64_t random) {
  switch (random % 4) {
    case 0:
      argument[vcpu][0] = ipi_port[random >> 8 & 1];
      pv::Hypercall(pv::kEventChannelOp, pv::kSend, ArgumentOf(vcpu));
      break;
    case 1:
      argument[vcpu][0] = random >> 8 & 63;
      pv::Hypercall(pv::kEventChannelOp, pv::kUnmask, ArgumentOf(vcpu));
      break;
    case 2:
      argument[vcpu][0] = 1;  // a deadline that has passed
      argument[vcpu][1] = 0;
      pv::Hypercall(pv::kVcpuOp, pv::kSetTimer, vcpu, ArgumentOf(vcpu));
      break;
    default:
      argument[vcpu][0] = random;  // any port
      pv::Hypercall(pv::kEventChannelOp, pv::kSend, ArgumentOf(vcpu));
      break;
  }
}

void Yield() { pv::Hypercall(pv::kSchedOp, pv::kYield); }

void TouchFarAddresses() {
  for (uint64_t i = 0; i < 512; ++i) {
    auto* const word = reinterpret_cast<volatile uint64_t*>(kFar + i * kLargePage);
    *word = *word;
  }
}

void Halt(uint64_t vcpu) {
  pv::Hypercall(pv::kVcpuOp, pv::kStopTimer, vcpu);
  for (;;) {
    pv::VcpuInfo(vcpu)[1] = 1;
    pv::MaskAll(true);
    *reinterpret_cast<volatile uint64_t*>(pv::VcpuInfo(vcpu) + 8) = 0;
    pv::VcpuInfo(vcpu)[0] = 0;
    pv::Hypercall(pv::kSchedOp, pv::kBlock);
  }
}

extern "C" void SetUp(const char* start_info) {
  root = pv::Root(start_info);
  MapAliases();
  RegisterHandlers(0);
  ipi_port[0] = pv::BindEvents(0);
  ReadCommandLine(pv::CommandLine(start_info), pv::InitialiseSecondVcpu(root) ? 1 : 0);
}

}  // namespace attack
