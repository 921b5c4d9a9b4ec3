// The monitor's page-table hypercalls over a small guest whose kernel writes any tables: loops, tables of two
// levels, aliases, large entries, frames in the hole and beyond RAM. They must touch no byte outside RAM,
// page types and Cpu (AddressSanitizer's to find), leave alone what is not theirs in Cpu, and come to an end.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>
#include <sanitizer/asan_interface.h>

#include "vmm/platform/ring3/monitor/mmu.h"

namespace hmvm::ring3 {

uint64_t LoadWord(uint64_t address) { return ~address; }

namespace {

constexpr uint64_t kLowFrames = 16;  // then a hole
constexpr uint64_t kHighStart = 20;
constexpr uint64_t kFrames = 24;
constexpr uint64_t kEntries = 512;
constexpr uint64_t kViews[] = {0xe0210067, 0xe0217067, 0xe0214067};

void Check(bool condition) {
  if (!condition) std::abort();
}

alignas(kPageSize) uint64_t ram[kFrames * kEntries];

class Guest {
 public:
  explicit Guest(FuzzedDataProvider& input) : input_(input) {
    std::ranges::fill(std::span(ram).first(kLowFrames * kEntries), 0);
    std::ranges::fill(std::span(ram).subspan(kHighStart * kEntries), 0);
    cpu_.low_frames = kLowFrames;
    cpu_.high_start = kHighStart;
    cpu_.frames = kFrames;
    cpu_.direct_map = reinterpret_cast<uint64_t>(ram);
    cpu_.page_types = reinterpret_cast<uint64_t>(types_.get());
    cpu_.kernel_view = kViews[0];
    cpu_.kernel_direct_map = kViews[1];
    cpu_.user_view = kViews[2];
    cpu_.kernel_root = kPageSize;
    before_ = cpu_;
  }

  void Step() {
    switch (input_.ConsumeIntegralInRange(0, 5)) {
      case 0:
        Table(TableFrame())[Index()] = Entry();
        break;
      case 1: {  // as wide as a table goes: what makes a walk long
        const uint64_t entry = Entry();
        std::ranges::fill(Table(TableFrame()), entry);
        break;
      }
      case 2:
        Updates();
        break;
      case 3:
        VaMapping();
        break;
      default:
        Extended();
        break;
    }
    CheckCpu();
  }

 private:
  std::span<uint64_t> Table(uint64_t frame) { return std::span(ram).subspan(frame * kEntries, kEntries); }
  bool IsRam(uint64_t frame) const { return frame < kLowFrames || (frame >= kHighStart && frame < kFrames); }
  // Few, so that tables lead to each other and to themselves.
  uint64_t TableFrame() { return 1 + input_.ConsumeIntegralInRange<uint64_t>(0, 5); }
  uint64_t Frame() {
    constexpr uint64_t kEdges[] = {kLowFrames - 1, kLowFrames, kHighStart - 1, kHighStart,
                                   kFrames - 1,    kFrames,    0xe0000,        (uint64_t{1} << 40) - 1};
    return input_.ConsumeBool() ? TableFrame() : input_.PickValueInArray(kEdges);
  }
  uint64_t Index() {
    constexpr uint64_t kSlots[] = {0, 1, 255, 256, kMonitorSlot, kDirectMapSlot, 271, kFirstKernelSlot, 511};
    return input_.PickValueInArray(kSlots);
  }
  uint64_t Entry() {
    constexpr uint64_t kFlags[] = {
        0, 1, 3, 7, 0x67, 0x81, 0x83, 0xe7, kEntryNoExecute | 3, 0x7ff0000000000003};
    return (Frame() << 12) | input_.PickValueInArray(kFlags);
  }
  uint32_t* Done() { return input_.ConsumeBool() ? &done_ : nullptr; }

  void Updates() {
    // Of exactly the size that is handed in.
    std::vector<uint64_t> updates;
    for (int i = input_.ConsumeIntegralInRange(0, 4); i > 0; --i) {
      const uint64_t address = Frame() * kPageSize + Index() * sizeof(uint64_t);
      updates.push_back(address | input_.ConsumeIntegralInRange<uint64_t>(0, 7));
      updates.push_back(Entry());
    }
    static_cast<void>(MmuUpdate(cpu_, updates.data(), updates.size() / 2, Done()));
  }

  void VaMapping() {
    uint64_t address = input_.ConsumeBool() ? 0xffff000000000000 : 0;
    for (int level = 4; level >= 1; --level) address |= Index() << (12 + 9 * (level - 1));
    static_cast<void>(UpdateVaMapping(cpu_, address, Entry(), input_.ConsumeIntegralInRange<uint64_t>(0, 3)));
  }

  void Extended() {
    const uint64_t argument = Frame();
    const MmuExtendedOperation operation = {input_.ConsumeIntegralInRange<uint32_t>(0, 20), 0, argument, 0};
    const bool dirty = IsRam(argument) && Table(argument)[kMonitorSlot] != kViews[2];
    const int64_t result = MmuExtended(cpu_, &operation, 1, Done());
    if (operation.command == kMmuNewRoot || operation.command == kMmuNewUserRoot) {
      Check((result == 0) == (IsRam(argument)));
    }
    if (result != 0) return;
    if (operation.command == kMmuNewRoot) {
      Check(cpu_.kernel_root == argument * kPageSize);
      Check(Table(argument)[kMonitorSlot] == kViews[0] && Table(argument)[kDirectMapSlot] == kViews[1]);
    }
    if (operation.command == kMmuNewUserRoot && argument != 0 && dirty) {
      for (uint64_t slot = 256; slot < kEntries; ++slot) {
        Check(Table(argument)[slot] == (slot == kMonitorSlot ? kViews[2] : 0));
      }
    }
  }

  void CheckCpu() {
    Check(std::ranges::all_of(std::span(types_.get(), kFrames), [](uint8_t type) { return type <= 4; }));
    Check(IsRam(cpu_.kernel_root / kPageSize) && IsRam(cpu_.user_root / kPageSize));
    Cpu rest = cpu_;
    rest.kernel_root = before_.kernel_root;
    rest.user_root = before_.user_root;
    rest.flush = before_.flush;
    rest.flush_vcpus = before_.flush_vcpus;
    rest.count_page_table_updates = before_.count_page_table_updates;
    Check(std::memcmp(&rest, &before_, sizeof(rest)) == 0);
  }

  FuzzedDataProvider& input_;
  Cpu cpu_ = {};
  const std::unique_ptr<uint8_t[]> types_ = std::make_unique<uint8_t[]>(kFrames);
  uint32_t done_ = 0;
  Cpu before_;
};

}  // namespace
}  // namespace hmvm::ring3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm::ring3;
  ASAN_POISON_MEMORY_REGION(ram + kLowFrames * kEntries, (kHighStart - kLowFrames) * kPageSize);
  FuzzedDataProvider input(data, size);
  Guest guest(input);
  constexpr int kMostSteps = 64;
  for (int i = 0; i < kMostSteps && input.remaining_bytes() > 0; ++i) guest.Step();
  return 0;
}
