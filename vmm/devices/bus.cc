#include "vmm/devices/bus.h"

#include <algorithm>

namespace hmvm {

Result<> Bus::Add(uint64_t start, uint64_t size_bytes, BusDevice* device) {
  if (size_bytes == 0 || size_bytes > UINT64_MAX - start) {
    return Error{EINVAL, "bus range at " + std::to_string(start) + " is empty or wraps"};
  }
  const auto next = std::ranges::upper_bound(ranges_, start, {}, &Range::start);
  const bool hits_next = next != ranges_.end() && next->start < start + size_bytes;
  const bool hits_previous =
      next != ranges_.begin() && std::prev(next)->start + std::prev(next)->size_bytes > start;
  if (hits_next || hits_previous) {
    return Error{EEXIST, "bus range at " + std::to_string(start) + " overlaps another"};
  }
  ranges_.insert(next, Range{start, size_bytes, device});
  return {};
}

const Bus::Range* Bus::Find(uint64_t address) const {
  const auto next = std::ranges::upper_bound(ranges_, address, {}, &Range::start);
  if (next == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(next);
  return address - range.start < range.size_bytes ? &range : nullptr;
}

bool Bus::Read(uint64_t address, std::span<std::byte> data) const {
  const Range* range = Find(address);
  if (range == nullptr) {
    std::ranges::fill(data, std::byte{0xff});
    return false;
  }
  range->device->Read(address - range->start, data);
  return true;
}

bool Bus::Write(uint64_t address, std::span<const std::byte> data) const {
  const Range* range = Find(address);
  if (range == nullptr) return false;
  range->device->Write(address - range->start, data);
  return true;
}

}  // namespace hmvm
