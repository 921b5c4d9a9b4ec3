// Any page tables and any data under any sequence of hypercalls: neither may reach outside guest memory. Of
// the input, the first 12 KiB are the page-table pages below the root and the arguments' page, the rest are
// calls.
#include <algorithm>
#include <cstring>

#include "vmm/platform/ring3/testing.h"

namespace {

using hmvm::GuestAddress;
using hmvm::ring3::HypercallsWithoutVcpu;

struct Call {
  uint8_t number;
  uint8_t command;
  uint16_t offset;  // in the arguments' page
  uint32_t value;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  HypercallsWithoutVcpu guest;
  constexpr size_t kMostTables = 0x3000;
  const size_t memory_bytes = std::min(size / 2, kMostTables);
  constexpr uint64_t kFrom = 0x3000;  // the two lower levels of tables, then kData
  static_cast<void>(
      guest.memory().WriteBytes(GuestAddress{kFrom}, std::as_bytes(std::span(data, memory_bytes))));
  for (size_t at = memory_bytes; size - at >= sizeof(Call); at += sizeof(Call)) {
    Call call;
    std::memcpy(&call, data + at, sizeof(call));
    const uint64_t address =
        HypercallsWithoutVcpu::kAddress + HypercallsWithoutVcpu::kData + call.offset % 4096;
    static_cast<void>(
        guest.Call(call.number % 64, {call.command, call.value % 5000, address, call.value, address}));
    static_cast<void>(guest.Call(call.number % 64, {call.command, address, call.value, address, call.value}));
  }
  return 0;
}
