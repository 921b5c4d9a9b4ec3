#include "vmm/memory/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "vmm/memory/write_marks.h"

namespace hmvm {

GuestMemory::GuestMemory(Mapping mapping, Added added)
    : mapping_(std::move(mapping)),
      added_(added),
      write_marks_(std::make_unique<WriteMarks>(mapping_.bytes())) {
  const std::span<std::byte> all = mapping_.bytes();
  const size_t low_bytes = std::min<uint64_t>(booted_bytes(), kLowRamEnd);
  regions_.push_back({GuestAddress{0}, all.first(low_bytes)});
  if (all.size() > low_bytes) regions_.push_back({GuestAddress{kHighRamStart}, all.subspan(low_bytes)});
}

GuestMemory::GuestMemory(GuestMemory&&) noexcept = default;
GuestMemory& GuestMemory::operator=(GuestMemory&&) noexcept = default;
GuestMemory::~GuestMemory() = default;

Result<GuestMemory> GuestMemory::Create(uint64_t booted_bytes, Added added) {
  constexpr uint64_t kPageBytes = 4096;
  if (booted_bytes == 0 || (booted_bytes | added.bytes) % kPageBytes != 0) {
    return Error{EINVAL, "guest memory of " + std::to_string(booted_bytes) + " and " +
                             std::to_string(added.bytes) + " bytes is not whole pages"};
  }
  if (added.region_bytes != 0 && booted_bytes > kLowRamEnd) {
    return Error{EINVAL, "memory can't be added to a guest that was booted with more than 3 GiB"};
  }
  if (added.bytes > added.region_bytes) return Error{EINVAL, "more memory is added than there is room for"};
  auto mapping = Mapping::Anonymous(booted_bytes + added.bytes);
  if (!mapping.has_value()) return Wrap("guest memory", mapping.error());
  return GuestMemory(std::move(*mapping), added);
}

Result<std::span<std::byte>> GuestMemory::Slice(GuestAddress address, uint64_t length_bytes) const {
  for (const Region& region : regions_) {
    // Written so that no sum can wrap: both numbers are the guest's.
    if (address < region.start) continue;
    const uint64_t offset = address.value - region.start.value;
    if (offset > region.host.size() || length_bytes > region.host.size() - offset) continue;
    return region.host.subspan(offset, length_bytes);
  }
  return Error{EFAULT, "guest address outside RAM"};
}

Result<> GuestMemory::WriteBytes(GuestAddress address, std::span<const std::byte> bytes) const {
  HMVM_TRY_ASSIGN(const std::span<std::byte> target, Slice(address, bytes.size()));
  std::memcpy(target.data(), bytes.data(), bytes.size());
  MarkWritten(target.data(), target.size());
  return {};
}

void GuestMemory::MarkWritten(const void* from, uint64_t length_bytes) const {
  write_marks_->Mark(from, length_bytes);
}

void GuestMemory::PreferHugePages(GuestAddress address, uint64_t length_bytes) const {
  constexpr uint64_t kHugePageBytes = 2 << 20;
  for (const Region& region : regions_) {
    if (address < region.start) continue;
    const uint64_t offset = address.value - region.start.value;
    if (offset > region.host.size() || length_bytes > region.host.size() - offset) continue;
    const uint64_t start = offset & ~(kHugePageBytes - 1);
    const uint64_t whole = (offset + length_bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
    const uint64_t end = std::min<uint64_t>(whole, region.host.size());
    ::madvise(region.host.data() + start, end - start, MADV_HUGEPAGE);
  }
}

}  // namespace hmvm
