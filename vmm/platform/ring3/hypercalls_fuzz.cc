// Any sequence of hypercalls of any vCPU, over page tables and arguments that the guest writes between them,
// and over a Cpu of its own making: nothing may reach outside guest memory, whatever is called twice,
// overlaps, lies across pages or names a vCPU, port, frame or time that does not exist.
#include <algorithm>
#include <cstring>

#include <fuzzer/FuzzedDataProvider.h>

#include "vmm/platform/ring3/testing.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kEnd = HypercallsWithoutVcpu::kMemoryBytes;
constexpr uint64_t kFrames = kEnd / kPageSize;

class Guest {
 public:
  explicit Guest(FuzzedDataProvider& input) : input_(input) {}

  void Step() {
    switch (input_.ConsumeIntegralInRange(0, 9)) {
      case 0:
        WriteEntry();
        break;
      case 1:
        WriteCpu();
        break;
      case 2:
        WriteSharedInfo();
        break;
      case 3:  // a device's interrupt
        static_cast<void>(guest_.events().Send(EventChannels::DevicePort(0)));
        break;
      default:
        Call();
        break;
    }
  }

 private:
  // What an argument may hold: vCPUs, ports, commands, frames, addresses and times, and what is next to them.
  uint64_t Number() {
    constexpr uint64_t kNumbers[] = {0,
                                     1,
                                     2,
                                     3,
                                     33,
                                     34,
                                     kMostPolledPorts,
                                     kMostPolledPorts + 1,
                                     kEventChannels - 1,
                                     kEventChannels,
                                     kFrames - 1,
                                     kFrames,
                                     kPlatformWindowStart / kPageSize,
                                     HypercallsWithoutVcpu::kRoot,
                                     UINT32_MAX,
                                     uint64_t{1} << 52,
                                     uint64_t{1} << 63,
                                     UINT64_MAX / kPageSize + 1,
                                     UINT64_MAX};
    switch (input_.ConsumeIntegralInRange(0, 7)) {
      case 0:
      case 1:
        return input_.ConsumeIntegral<uint8_t>();
      case 2:
        return input_.ConsumeIntegral<uint64_t>();
      case 3:
      case 4:
        return Address();
      default:
        return input_.PickValueInArray(kNumbers);
    }
  }
  // Mostly mapped; near the ends of pages, of what is mapped, and of the address space.
  uint64_t Address() {
    constexpr uint64_t kPages[] = {HypercallsWithoutVcpu::kData,
                                   HypercallsWithoutVcpu::kData + kPageSize,
                                   0x8000,
                                   0x1000,
                                   0x4000,
                                   0x1ff000,
                                   0x200000};
    const uint64_t page = HypercallsWithoutVcpu::kAddress + input_.PickValueInArray(kPages);
    constexpr uint64_t kOffsets[] = {0, 8, 16, 24, 32, 40, 64, 1, 3, 4048, 4072, 4088, 4094};
    if (input_.ConsumeIntegralInRange(0, 15) == 0)
      return input_.ConsumeBool() ? UINT64_MAX - 7 : 0x1234567812345678;
    return page + input_.PickValueInArray(kOffsets);
  }

  // In one of the tables that map kAddress, or somewhere that becomes one.
  void WriteEntry() {
    constexpr uint64_t kTables[] = {0x1000, 0x2000, 0x3000, 0x4000, 0x5000};
    constexpr uint64_t kIndices[] = {0, 1, 5, 6, 8, 510, 511};
    constexpr uint64_t kTargets[] = {
        0x1000,       0x2000, 0x3000, 0x4000, 0x5000, 0x8000, kEnd - kPageSize, kEnd, kPlatformWindowStart,
        kEntryAddress};
    constexpr uint64_t kFlags[] = {0, kEntryPresent, kEntryPresent | kEntryWritable,
                                   kEntryPresent | kEntryLarge};
    const uint64_t at =
        input_.PickValueInArray(kTables) + input_.PickValueInArray(kIndices) * sizeof(uint64_t);
    const uint64_t entry = input_.PickValueInArray(kTargets) | input_.PickValueInArray(kFlags);
    static_cast<void>(guest_.memory().Write(GuestAddress{at}, entry));
  }
  void WriteCpu() {
    Cpu& cpu =
        guest_.window().cpu(input_.ConsumeIntegralInRange<uint32_t>(0, HypercallsWithoutVcpu::kVcpus - 1));
    if (input_.ConsumeBool()) {
      cpu.kernel_root = input_.ConsumeBool() ? HypercallsWithoutVcpu::kRoot : Number();
      return;
    }
    const size_t offset = input_.ConsumeIntegralInRange<size_t>(0, sizeof(cpu) / 8 - 1) * 8;
    const uint64_t value = Number();
    std::memcpy(reinterpret_cast<std::byte*>(&cpu) + offset, &value, sizeof(value));
  }
  void WriteSharedInfo() {
    const uint64_t value = Number();
    const size_t offset = input_.ConsumeIntegralInRange<size_t>(0, sizeof(SharedInfo) / 8 - 1) * 8;
    std::memcpy(reinterpret_cast<std::byte*>(&guest_.window().shared_info()) + offset, &value, sizeof(value));
  }

  void Call() {
    constexpr uint64_t kNumbers[] = {
        kHypercallSetTrapTable,   kHypercallSetDebugreg,    kHypercallGetDebugreg, kHypercallMemoryOp,
        kHypercallXenVersion,     kHypercallConsoleIo,      kHypercallVmAssist,    kHypercallVcpuOp,
        kHypercallVcpuOp,         kHypercallVcpuOp,         kHypercallSchedOp,     kHypercallCallbackOp,
        kHypercallEventChannelOp, kHypercallEventChannelOp, kHypercallPhysdevOp};
    const uint64_t number = input_.ConsumeIntegralInRange(0, 15) == 0 ? input_.ConsumeIntegral<uint8_t>()
                                                                      : input_.PickValueInArray(kNumbers);
    uint64_t a = Number();
    uint64_t b = Number();
    uint64_t c = Number();
    // Structs of arguments where pointers to them are taken, so that most calls get to their end.
    const uint64_t argument = Address();
    if (input_.ConsumeIntegralInRange(0, 3) != 0) {
      a = input_.ConsumeIntegralInRange<uint64_t>(0, 15);
      for (uint64_t i = 0; i < 4; ++i) {
        const uint64_t word = Number();
        const auto at = GuestAddress{argument - HypercallsWithoutVcpu::kAddress + i * sizeof(word)};
        static_cast<void>(guest_.memory().Write(at, word));
      }
      (number == kHypercallVcpuOp || number == kHypercallConsoleIo ? c : b) = argument;
      if (number == kHypercallVcpuOp)
        b = input_.ConsumeIntegralInRange<uint64_t>(0, HypercallsWithoutVcpu::kVcpus);
      if (number == kHypercallSetTrapTable) a = argument;
    }
    static_cast<void>(guest_.Call(number, {a, b, c, Number(), Number()}));
  }

  FuzzedDataProvider& input_;
  HypercallsWithoutVcpu guest_;
};

}  // namespace
}  // namespace hmvm::ring3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  hmvm::ring3::Guest guest(input);
  constexpr int kMostSteps = 200;
  for (int i = 0; i < kMostSteps && input.remaining_bytes() > 0; ++i) guest.Step();
  return 0;
}
