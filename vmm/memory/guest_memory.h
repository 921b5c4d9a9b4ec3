#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"

namespace hmvm {

class WriteMarks;

// A guest-physical address. Guest-controlled until it went through GuestMemory::Slice.
struct GuestAddress {
  uint64_t value = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the comparison for a pointer's
  auto operator<=>(const GuestAddress&) const = default;
};

// The guest-physical address map below 4 GiB (ARCHITECTURE.md, "The machine the guest sees").
inline constexpr uint64_t kLowRamEnd = 0xc0000000;        // RAM is [0, min(size, this)) and goes on at 4 GiB
inline constexpr uint64_t kMmioWindowStart = 0xd0000000;  // virtio-mmio devices, 4 KiB each
inline constexpr uint64_t kMmioWindowSize = 0x00100000;
inline constexpr uint64_t kPlatformWindowStart =
    0xe0000000;  // a platform's own memory (the ring-3 monitor's)
inline constexpr uint64_t kHighRamStart = 0x100000000;

// The guest's RAM as the host sees it. The guest writes to it at any time: copy a value out once, validate
// the copy, use the copy. Thread-safe in that it never changes shape after creation.
class GuestMemory {
 public:
  struct Region {
    GuestAddress start;
    std::span<std::byte> host;
  };

  // Memory that a guest learns of after its boot, from virtio-mem: from kHighRamStart on, at the front of a
  // region of addresses that has room for more.
  struct Added {
    uint64_t bytes = 0;
    uint64_t region_bytes = 0;
  };
  // All are multiples of the page size. A guest with a region boots with kLowRamEnd at the most.
  static Result<GuestMemory> Create(uint64_t booted_bytes, Added added = {.bytes = 0, .region_bytes = 0});
  GuestMemory(GuestMemory&&) noexcept;
  GuestMemory& operator=(GuestMemory&&) noexcept;
  ~GuestMemory();

  uint64_t size_bytes() const { return mapping_.size(); }
  std::span<const Region> regions() const { return regions_; }
  // Without what was added, the last of the regions.
  std::span<const Region> booted_regions() const {
    return std::span(regions_).first(regions_.size() - (added_.bytes == 0 ? 0 : 1));
  }
  uint64_t booted_bytes() const { return mapping_.size() - added_.bytes; }
  std::span<std::byte> added() const { return mapping_.bytes().last(added_.bytes); }
  uint64_t region_bytes() const { return added_.region_bytes; }

  // The host view of guest-physical [address, address + length_bytes). EFAULT when any byte lies outside RAM
  // or the range crosses from one region into another.
  Result<std::span<std::byte>> Slice(GuestAddress address, uint64_t length_bytes) const;

  template <typename T>
  Result<T> Read(GuestAddress address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    HMVM_TRY_ASSIGN(const std::span<std::byte> bytes, Slice(address, sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  template <typename T>
  Result<> Write(GuestAddress address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    HMVM_TRY_ASSIGN(const std::span<std::byte> bytes, Slice(address, sizeof(T)));
    std::memcpy(bytes.data(), &value, sizeof(T));
    MarkWritten(bytes.data(), bytes.size());
    return {};
  }
  Result<> WriteBytes(GuestAddress address, std::span<const std::byte> bytes) const;

  // Who writes through a Slice says so afterwards, each time, for the sake of DirtyPages; Write and
  // WriteBytes do it themselves. Places outside RAM are left out. Thread-safe.
  void MarkWritten(const void* from, uint64_t length_bytes) const;
  WriteMarks& write_marks() const { return *write_marks_; }

  // Asks the host for huge pages where [address, address + length_bytes) will be filled, up to their whole:
  // one fault for 2 MiB, and one entry in the guest's second-level page tables. A hint; nothing outside RAM
  // happens.
  void PreferHugePages(GuestAddress address, uint64_t length_bytes) const;

 private:
  GuestMemory(Mapping mapping, Added added);

  Mapping mapping_;
  Added added_;
  std::vector<Region> regions_;
  std::unique_ptr<WriteMarks> write_marks_;
};

}  // namespace hmvm
