// Walks of page tables that the fuzzer makes: loops, tables that map themselves, aliases, large entries at
// every level, frames in the hole and beyond RAM. What an access does must be what the walk of each byte's
// own address says, and no byte else may change.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "vmm/platform/ring3/guest_access.h"
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kHighBytes = 4 * kPageSize;
// The pages in play, on both sides of the hole; the rest of RAM stays untouched, and so costs nothing.
constexpr uint64_t kPages[] = {0,
                               kPageSize,
                               2 * kPageSize,
                               3 * kPageSize,
                               kLowRamEnd - 2 * kPageSize,
                               kLowRamEnd - kPageSize,
                               kHighRamStart,
                               kHighRamStart + kHighBytes - kPageSize};
constexpr uint64_t kOutside[] = {kLowRamEnd,
                                 kMmioWindowStart,
                                 kPlatformWindowStart,
                                 kHighRamStart - kPageSize,
                                 kHighRamStart + kHighBytes,
                                 kEntryAddress};

void Check(bool condition) {
  if (!condition) std::abort();
}

std::span<std::byte> Page(const GuestMemory& memory, uint64_t address) {
  return memory.Slice(GuestAddress{address}, kPageSize).value();
}

std::vector<std::byte> Snapshot(const GuestMemory& memory) {
  std::vector<std::byte> all;
  for (const uint64_t page : kPages) {
    const auto bytes = Page(memory, page);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

// The host's view of the one byte at `address`, or nullptr.
std::byte* ByteAt(const GuestMemory& memory, const GuestAccess& access, uint64_t root, uint64_t address) {
  const auto physical = access.Translate(root, address);
  if (!physical.has_value()) return nullptr;
  const auto host = memory.Slice(*physical, 1);
  return host.has_value() ? host->data() : nullptr;
}

uint64_t PickIndex(FuzzedDataProvider& input) {
  constexpr uint64_t kIndices[] = {0, 1, 2, 255, 256, 510, 511};
  return input.PickValueInArray(kIndices);
}

void WriteEntry(FuzzedDataProvider& input, const GuestMemory& memory) {
  constexpr uint64_t kFlags[] = {kEntryPresent,
                                 kEntryPresent | kEntryWritable | kEntryUser,
                                 kEntryPresent | kEntryLarge,
                                 kEntryPresent | kEntryWritable | kEntryNoExecute,
                                 0x7ff0000000000001,
                                 0};
  const uint64_t table = input.PickValueInArray(kPages);
  uint64_t target = input.ConsumeIntegralInRange(0, 3) == 0 ? input.PickValueInArray(kOutside)
                                                            : input.PickValueInArray(kPages);
  if (input.ConsumeIntegralInRange(0, 15) == 0) target = input.ConsumeIntegral<uint64_t>() & kEntryAddress;
  const uint64_t entry = target | input.PickValueInArray(kFlags);
  // All entries alike: every address leads through this table.
  const bool all = input.ConsumeBool();
  const uint64_t first = all ? 0 : PickIndex(input);
  for (uint64_t i = first; i < (all ? 512 : first + 1); ++i) {
    Check(memory.Write(GuestAddress{table + i * sizeof(entry)}, entry).has_value());
  }
}

void Access(FuzzedDataProvider& input, const GuestMemory& memory, const GuestAccess& access) {
  uint64_t root = input.PickValueInArray(kPages);
  if (input.ConsumeIntegralInRange(0, 15) == 0) root = input.ConsumeIntegral<uint64_t>();
  uint64_t address = input.ConsumeBool() ? 0xffff000000000000 : 0;
  for (int shift = 39; shift >= 12; shift -= 9) address |= PickIndex(input) << shift;
  address += input.ConsumeIntegral<uint16_t>();  // into this page or over its end, of the address space too
  if (input.ConsumeIntegralInRange(0, 15) == 0) address = input.ConsumeIntegral<uint64_t>();
  const size_t length = input.ConsumeIntegralInRange<size_t>(0, input.ConsumeBool() ? 32 : kPageSize + 32);

  std::vector<std::byte*> host(length);
  for (size_t i = 0; i < length; ++i) host[i] = ByteAt(memory, access, root, address + i);
  const bool reachable = std::ranges::find(host, nullptr) == host.end();

  std::vector<std::byte> bytes(length);
  Check(access.Read(root, address, bytes) == reachable);
  if (!reachable) return;
  for (size_t i = 0; i < length; ++i) Check(bytes[i] == *host[i]);

  // Back as they are: not even a table on the way may look different then.
  const std::vector<std::byte> before = Snapshot(memory);
  Check(access.Write(root, address, std::span<const std::byte>(bytes)));
  Check(Snapshot(memory) == before);
}

}  // namespace
}  // namespace hmvm::ring3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  using namespace hmvm::ring3;
  static const GuestMemory memory = GuestMemory::Create(kLowRamEnd + kHighBytes).value();
  for (const uint64_t page : kPages) std::ranges::fill(Page(memory, page), std::byte{0});

  const GuestAccess access(&memory);
  FuzzedDataProvider input(data, size);
  while (input.remaining_bytes() > 0) {
    if (input.ConsumeBool()) {
      WriteEntry(input, memory);
    } else {
      Access(input, memory, access);
    }
  }
  return 0;
}
