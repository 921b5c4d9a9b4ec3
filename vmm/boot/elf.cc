#include "vmm/boot/elf.h"

#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

namespace hmvm {
namespace {

// A vmlinux has fewer than ten; the bound keeps the pairwise check for overlaps cheap.
constexpr uint16_t kMaxProgramHeaders = 64;
constexpr size_t kMaxNotes = 256;

Error Malformed(const std::string& what) { return Error{ENOEXEC, what}; }

std::string SegmentName(size_t index) { return "ELF program header " + std::to_string(index); }

std::string Hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// The part [offset, offset + length) of `bytes`, or nullopt. No sum that can wrap: both numbers are the
// file's.
std::optional<std::span<const std::byte>> Part(std::span<const std::byte> bytes, uint64_t offset,
                                               uint64_t length) {
  if (offset > bytes.size() || length > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, length);
}

template <typename T>
std::optional<T> ReadStruct(std::span<const std::byte> bytes, uint64_t offset) {
  const auto part = Part(bytes, offset, sizeof(T));
  if (!part) return std::nullopt;
  T value;
  std::memcpy(&value, part->data(), sizeof(T));
  return value;
}

bool Wraps(uint64_t start, uint64_t length) { return length > UINT64_MAX - start; }

}  // namespace

bool ElfImage::IsElf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Result<ElfImage> ElfImage::Parse(std::span<const std::byte> file) {
  if (!IsElf(file)) return Malformed("not an ELF file");
  const auto header = ReadStruct<Elf64_Ehdr>(file, 0);
  if (!header) return Malformed("ELF header is truncated");
  if (header->e_ident[EI_CLASS] != ELFCLASS64) return Malformed("ELF file is not of the 64-bit class");
  if (header->e_ident[EI_DATA] != ELFDATA2LSB) return Malformed("ELF file is not little endian");
  if (header->e_machine != EM_X86_64) {
    return Malformed("ELF machine " + std::to_string(header->e_machine) + " is not x86-64");
  }
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) {
    return Malformed("ELF type " + std::to_string(header->e_type) + " is not an executable");
  }
  ElfImage image;
  image.file_ = file;
  image.entry_ = header->e_entry;
  HMVM_TRY(image.ParseProgramHeaders(header->e_phoff, header->e_phentsize, header->e_phnum));
  if (image.segments_.empty()) return Malformed("ELF file has no segment to load");
  HMVM_TRY(image.CheckOverlap());
  image.physical_start_ =
      std::ranges::min(image.segments_, {}, &ElfSegment::physical_address).physical_address;
  for (const ElfSegment& segment : image.segments_) {
    image.physical_end_ = std::max(image.physical_end_, segment.physical_address + segment.memory_bytes);
  }
  return image;
}

Result<> ElfImage::ParseProgramHeaders(uint64_t offset, uint16_t entry_bytes, uint16_t count) {
  if (count > kMaxProgramHeaders) {
    return Malformed("ELF file has " + std::to_string(count) + " program headers, more than " +
                     std::to_string(kMaxProgramHeaders));
  }
  if (count != 0 && entry_bytes != sizeof(Elf64_Phdr)) {
    return Malformed("ELF program headers have " + std::to_string(entry_bytes) + " bytes each, not " +
                     std::to_string(sizeof(Elf64_Phdr)));
  }
  const auto table = Part(file_, offset, uint64_t{count} * sizeof(Elf64_Phdr));
  if (!table) return Malformed("ELF program headers lie beyond the end of the file");

  for (size_t i = 0; i < count; ++i) {
    const Elf64_Phdr header = *ReadStruct<Elf64_Phdr>(*table, i * sizeof(Elf64_Phdr));
    if (header.p_type != PT_LOAD && header.p_type != PT_NOTE) continue;
    const auto content = Part(file_, header.p_offset, header.p_filesz);
    if (!content) return Malformed(SegmentName(i) + " lies beyond the end of the file");
    if (header.p_type == PT_NOTE) {
      HMVM_TRY(ParseNotes(i, *content, header.p_align));
      continue;
    }
    if (header.p_memsz < header.p_filesz) {
      return Malformed(SegmentName(i) + " has more bytes in the file than in memory");
    }
    if (header.p_memsz == 0) continue;
    if (Wraps(header.p_paddr, header.p_memsz) || Wraps(header.p_vaddr, header.p_memsz)) {
      return Malformed(SegmentName(i) + " wraps around the end of the address space");
    }
    segments_.push_back({.file_offset = header.p_offset,
                         .file_bytes = header.p_filesz,
                         .physical_address = header.p_paddr,
                         .virtual_address = header.p_vaddr,
                         .memory_bytes = header.p_memsz,
                         .flags = header.p_flags});
  }
  return {};
}

Result<> ElfImage::CheckOverlap() const {
  for (size_t i = 0; i < segments_.size(); ++i) {
    for (size_t j = i + 1; j < segments_.size(); ++j) {
      const ElfSegment& a = segments_[i];
      const ElfSegment& b = segments_[j];
      if (a.physical_address < b.physical_address + b.memory_bytes &&
          b.physical_address < a.physical_address + a.memory_bytes) {
        return Malformed("ELF segments at " + Hex(a.physical_address) + " and " + Hex(b.physical_address) +
                         " overlap");
      }
    }
  }
  return {};
}

Result<> ElfImage::ParseNotes(size_t header, std::span<const std::byte> segment, uint64_t alignment) {
  // Name and description are padded to the segment's alignment: four bytes, or eight in the newer form.
  const uint64_t padding = alignment == 8 ? 8 : 4;
  const auto padded = [padding](uint64_t bytes) { return (bytes + padding - 1) & ~(padding - 1); };
  uint64_t offset = 0;
  while (segment.size() - offset >= sizeof(Elf64_Nhdr)) {
    if (notes_.size() == kMaxNotes)
      return Malformed("ELF file has more than " + std::to_string(kMaxNotes) + " notes");
    const Elf64_Nhdr note = *ReadStruct<Elf64_Nhdr>(segment, offset);
    // All of these are sums of 32-bit numbers and of offsets inside the file: none can wrap 64 bits.
    const uint64_t name_offset = offset + sizeof(Elf64_Nhdr);
    const uint64_t description_offset = padded(name_offset + note.n_namesz);
    const auto name = Part(segment, name_offset, note.n_namesz);
    const auto description = Part(segment, description_offset, note.n_descsz);
    if (!name || !description) return Malformed("note in " + SegmentName(header) + " is truncated");
    // SAFETY: std::byte and char may alias; the view stays inside the file.
    std::string_view text(reinterpret_cast<const char*>(name->data()), name->size());
    if (text.ends_with('\0')) text.remove_suffix(1);
    notes_.push_back({text, note.n_type, *description});
    offset = std::min<uint64_t>(padded(description_offset + note.n_descsz), segment.size());
  }
  return {};
}

const ElfNote* ElfImage::FindNote(std::string_view name, uint32_t type) const {
  const auto found = std::ranges::find_if(
      notes_, [&](const ElfNote& note) { return note.type == type && note.name == name; });
  return found == notes_.end() ? nullptr : &*found;
}

std::optional<uint64_t> ElfImage::NumberNote(std::string_view name, uint32_t type) const {
  const ElfNote* note = FindNote(name, type);
  if (note == nullptr) return std::nullopt;
  if (note->description.size() == sizeof(uint64_t)) return ReadStruct<uint64_t>(note->description, 0);
  if (note->description.size() == sizeof(uint32_t)) return ReadStruct<uint32_t>(note->description, 0);
  return std::nullopt;
}

Result<> ElfImage::Load(const GuestMemory& memory) const {
  for (const ElfSegment& segment : segments_) {
    if (!memory.Slice(GuestAddress{segment.physical_address}, segment.memory_bytes).has_value()) {
      return Error{EFAULT, "ELF segment of " + std::to_string(segment.memory_bytes) + " bytes at " +
                               Hex(segment.physical_address) + " does not lie in the guest's memory"};
    }
  }
  memory.PreferHugePages(GuestAddress{physical_start_}, physical_end_ - physical_start_);
  for (const ElfSegment& segment : segments_) {
    HMVM_TRY(memory.WriteBytes(GuestAddress{segment.physical_address},
                               file_.subspan(segment.file_offset, segment.file_bytes)));
  }
  return {};
}

}  // namespace hmvm
