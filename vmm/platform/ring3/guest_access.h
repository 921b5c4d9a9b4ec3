// The one way by which the VMM follows a guest-virtual address: a walk of the guest's page tables in which
// every table and every byte lies in RAM, or the access fails.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "vmm/memory/guest_memory.h"

namespace hmvm::ring3 {

class GuestAccess {
 public:
  explicit GuestAccess(const GuestMemory* memory) : memory_(memory) {}

  // The guest-physical address behind `address` in the tables at `root`; nullopt when it is not mapped, or a
  // table lies outside RAM. Permissions are not looked at: the guest's kernel asks, and all it can reach it
  // may.
  std::optional<GuestAddress> Translate(uint64_t root, uint64_t address) const;

  // false when a byte is not mapped to RAM; some may have been copied then.
  bool Read(uint64_t root, uint64_t address, std::span<std::byte> out) const;
  bool Write(uint64_t root, uint64_t address, std::span<const std::byte> bytes) const;

  template <typename T>
  bool Read(uint64_t root, uint64_t address, T* value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return Read(root, address, std::as_writable_bytes(std::span(value, 1)));
  }
  template <typename T>
  bool Write(uint64_t root, uint64_t address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return Write(root, address, std::as_bytes(std::span(&value, 1)));
  }

 private:
  // Calls `copy` with the host's view of each piece that lies in one page.
  template <typename Copy>
  bool ForEachPiece(uint64_t root, uint64_t address, size_t length, Copy copy) const;

  const GuestMemory* memory_;
};

}  // namespace hmvm::ring3
