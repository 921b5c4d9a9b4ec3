// The ELF64 vmlinux file: checked parse, notes, load (System V ABI "Program Header", "Note Section").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hmvm {

// A PT_LOAD segment. Parse() has checked that file_bytes lie in the file, that file_bytes <= memory_bytes and
// that neither address range wraps.
struct ElfSegment {
  uint64_t file_offset;
  uint64_t file_bytes;
  uint64_t physical_address;
  uint64_t virtual_address;
  uint64_t memory_bytes;  // what lies beyond file_bytes is zero
  uint32_t flags;         // PF_R, PF_W, PF_X
};

// An entry of a PT_NOTE segment; name without its terminating zero. Views into the file.
struct ElfNote {
  std::string_view name;
  uint32_t type;
  std::span<const std::byte> description;
};

// An x86-64 executable. A view: `file` must outlive it and stay unchanged. Thread-safe, as it never changes.
class ElfImage {
 public:
  // Whether `file` claims to be ELF at all, to choose between loaders.
  static bool IsElf(std::span<const std::byte> file);

  // ENOEXEC for all that is wrong with the file; the text says what.
  static Result<ElfImage> Parse(std::span<const std::byte> file);

  uint64_t entry() const { return entry_; }  // e_entry
  std::span<const ElfSegment> segments() const {
    return segments_;
  }  // at least one, in the file's order, disjoint
  std::span<const ElfNote> notes() const { return notes_; }
  // The extent of all segments in guest-physical memory.
  uint64_t physical_start() const { return physical_start_; }
  uint64_t physical_end() const { return physical_end_; }

  const ElfNote* FindNote(std::string_view name, uint32_t type) const;
  // The note's description as a little-endian number of four or eight bytes; nullopt when absent or of
  // another size.
  std::optional<uint64_t> NumberNote(std::string_view name, uint32_t type) const;

  // Copies all segments to their physical addresses in fresh (zero) guest memory. EFAULT names the segment
  // that does not lie in RAM; nothing has been written then.
  Result<> Load(const GuestMemory& memory) const;

 private:
  Result<> ParseProgramHeaders(uint64_t offset, uint16_t entry_bytes, uint16_t count);
  Result<> CheckOverlap() const;
  Result<> ParseNotes(size_t header, std::span<const std::byte> segment, uint64_t alignment);

  std::span<const std::byte> file_;
  uint64_t entry_ = 0;
  uint64_t physical_start_ = 0;
  uint64_t physical_end_ = 0;
  std::vector<ElfSegment> segments_;
  std::vector<ElfNote> notes_;
};

}  // namespace hmvm
