#include "vmm/platform/ring3/guest_access.h"

#include <algorithm>
#include <cstring>

#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {

std::optional<GuestAddress> GuestAccess::Translate(uint64_t root, uint64_t address) const {
  uint64_t table = root & kEntryAddress;
  for (int level = 4; level >= 1; --level) {
    const int shift = 12 + 9 * (level - 1);
    const uint64_t index = (address >> shift) & 511;
    const auto entry = memory_->Read<uint64_t>(GuestAddress{table + index * sizeof(uint64_t)});
    if (!entry.has_value() || (*entry & kEntryPresent) == 0) return std::nullopt;
    const uint64_t base = *entry & kEntryAddress;
    // Large pages exist at levels 2 and 3 alone; at level 1 the bit is PAT.
    if (level == 1 || (level < 4 && (*entry & kEntryLarge) != 0)) {
      const uint64_t offset_mask = (uint64_t{1} << shift) - 1;
      return GuestAddress{(base & ~offset_mask) | (address & offset_mask)};
    }
    table = base;
  }
  return std::nullopt;
}

template <typename Copy>
bool GuestAccess::ForEachPiece(uint64_t root, uint64_t address, size_t length, Copy copy) const {
  for (size_t done = 0; done < length;) {
    const uint64_t at = address + done;
    const size_t piece = std::min<size_t>(length - done, kPageSize - at % kPageSize);
    const auto physical = Translate(root, at);
    if (!physical.has_value()) return false;
    const auto host = memory_->Slice(*physical, piece);
    if (!host.has_value()) return false;
    copy(done, *host);
    done += piece;
  }
  return true;
}

bool GuestAccess::Read(uint64_t root, uint64_t address, std::span<std::byte> out) const {
  return ForEachPiece(root, address, out.size(), [&](size_t offset, std::span<std::byte> host) {
    std::memcpy(out.data() + offset, host.data(), host.size());
  });
}

bool GuestAccess::Write(uint64_t root, uint64_t address, std::span<const std::byte> bytes) const {
  return ForEachPiece(root, address, bytes.size(), [&](size_t offset, std::span<std::byte> host) {
    std::memcpy(host.data(), bytes.data() + offset, host.size());
    memory_->MarkWritten(host.data(), host.size());
  });
}

}  // namespace hmvm::ring3
