#include "vmm/boot/elf.h"

#include <elf.h>

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint32_t kXenNoteEntry = 1;
constexpr uint32_t kXenNotePvhEntry = 18;

// A vmlinux in the small: two segments, "kernel" at 1 MiB with a zero tail and "data" at 2 MiB, and Xen's
// notes.
struct TestElf {
  Elf64_Ehdr header = {};
  Elf64_Phdr segments[3] = {};
  std::vector<std::byte> rest;  // what follows the headers

  TestElf() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_entry = 0x100000;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 3;
    segments[0] = Load(Append("kernel"), 6, 0x100000, kPageBytes);
    segments[1] = Load(Append("data"), 4, 0x200000, 4);
    segments[2].p_type = PT_NOTE;
    segments[2].p_align = 4;
    segments[2].p_offset = AppendNote("Xen", kXenNoteEntry, uint64_t{0xffffffff81000000});
    AppendNote("Xen", kXenNotePvhEntry, uint32_t{0x1000400});
    segments[2].p_filesz = End() - segments[2].p_offset;
  }

  static Elf64_Phdr Load(uint64_t offset, uint64_t file_bytes, uint64_t address, uint64_t memory_bytes) {
    Elf64_Phdr segment = {};
    segment.p_type = PT_LOAD;
    segment.p_offset = offset;
    segment.p_filesz = file_bytes;
    segment.p_paddr = address;
    segment.p_vaddr = 0xffffffff80000000 + address;
    segment.p_memsz = memory_bytes;
    return segment;
  }

  uint64_t End() const { return sizeof(header) + sizeof(segments) + rest.size(); }

  uint64_t AppendBytes(const void* data, size_t size) {
    const uint64_t offset = End();
    const auto* bytes = static_cast<const std::byte*>(data);
    rest.insert(rest.end(), bytes, bytes + size);
    return offset;
  }
  uint64_t Append(const char* text) { return AppendBytes(text, std::strlen(text)); }

  template <typename T>
  uint64_t AppendNote(const char* name, uint32_t type, T value) {
    const Elf64_Nhdr note = {static_cast<Elf64_Word>(std::strlen(name) + 1), sizeof(T), type};
    const uint64_t offset = AppendBytes(&note, sizeof(note));
    std::string padded(name);
    padded.resize((note.n_namesz + 3) / 4 * 4);
    AppendBytes(padded.data(), padded.size());
    AppendBytes(&value, sizeof(value));
    return offset;
  }

  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> bytes(End());
    std::memcpy(bytes.data(), &header, sizeof(header));
    std::memcpy(bytes.data() + sizeof(header), segments, sizeof(segments));
    std::memcpy(bytes.data() + sizeof(header) + sizeof(segments), rest.data(), rest.size());
    return bytes;
  }

  std::string ParseError() const {
    const std::vector<std::byte> bytes = Bytes();
    const auto image = ElfImage::Parse(bytes);
    return image.has_value() ? "" : image.error().what;
  }
};

std::string TextAt(const GuestMemory& memory, uint64_t address, size_t size) {
  const auto bytes = memory.Slice(GuestAddress{address}, size).value();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(ElfTest, SegmentsLandAtTheirPhysicalAddresses) {
  const std::vector<std::byte> bytes = TestElf().Bytes();
  const GuestMemory memory = GuestMemory::Create(4 << 20).value();

  const ElfImage image = ElfImage::Parse(bytes).value();
  ASSERT_TRUE(image.Load(memory).has_value());

  EXPECT_EQ(image.entry(), 0x100000u);
  EXPECT_EQ(image.physical_start(), 0x100000u);
  EXPECT_EQ(image.physical_end(), 0x200004u);
  EXPECT_EQ(TextAt(memory, 0x100000, 8), std::string("kernel\0\0", 8));
  EXPECT_EQ(TextAt(memory, 0x200000, 4), "data");
}

TEST(ElfTest, NotesAreFoundByNameAndType) {
  const std::vector<std::byte> bytes = TestElf().Bytes();

  const ElfImage image = ElfImage::Parse(bytes).value();

  EXPECT_EQ(image.NumberNote("Xen", kXenNoteEntry), 0xffffffff81000000u);
  EXPECT_EQ(image.NumberNote("Xen", kXenNotePvhEntry), 0x1000400u);
  EXPECT_EQ(image.NumberNote("Xen", 99), std::nullopt);
  EXPECT_EQ(image.NumberNote("GNU", kXenNoteEntry), std::nullopt);
}

TEST(ElfTest, NotesPaddedToEightBytesAreFound) {
  TestElf elf;
  elf.segments[2].p_align = 8;
  const Elf64_Nhdr note = {4, 4, kXenNotePvhEntry};
  elf.segments[2].p_offset = elf.AppendBytes(&note, sizeof(note));
  elf.AppendBytes("Xen", 4);  // header and name are 16 bytes: the description follows without padding
  const uint32_t value = 7;
  elf.AppendBytes(&value, sizeof(value));
  elf.segments[2].p_filesz = elf.End() - elf.segments[2].p_offset;
  const std::vector<std::byte> bytes = elf.Bytes();

  EXPECT_EQ(ElfImage::Parse(bytes).value().NumberNote("Xen", kXenNotePvhEntry), 7u);
}

TEST(ElfTest, NoteOfAnotherSizeIsNoNumber) {
  TestElf elf;
  elf.segments[2].p_offset = elf.AppendNote("Xen", kXenNoteEntry, uint16_t{1});
  elf.segments[2].p_filesz = elf.End() - elf.segments[2].p_offset;
  const std::vector<std::byte> bytes = elf.Bytes();

  EXPECT_EQ(ElfImage::Parse(bytes).value().NumberNote("Xen", kXenNoteEntry), std::nullopt);
}

TEST(ElfTest, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = TestElf().Bytes();

  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ElfImage::Parse(std::span(bytes).first(size)).has_value()) << size;
  }
}

TEST(ElfTest, ForeignFilesAreRefusedByName) {
  TestElf machine, bits, endian, type;
  machine.header.e_machine = EM_AARCH64;
  bits.header.e_ident[EI_CLASS] = ELFCLASS32;
  endian.header.e_ident[EI_DATA] = ELFDATA2MSB;
  type.header.e_type = ET_REL;

  EXPECT_EQ(machine.ParseError(), "ELF machine 183 is not x86-64");
  EXPECT_EQ(bits.ParseError(), "ELF file is not of the 64-bit class");
  EXPECT_EQ(endian.ParseError(), "ELF file is not little endian");
  EXPECT_EQ(type.ParseError(), "ELF type 1 is not an executable");
}

TEST(ElfTest, ProgramHeadersOutsideTheFileAreRefused) {
  TestElf beyond, wrapping, many, small;
  beyond.header.e_phoff = beyond.End();
  wrapping.header.e_phoff = UINT64_MAX - 8;
  many.header.e_phnum = PN_XNUM;
  small.header.e_phentsize = 32;

  EXPECT_EQ(beyond.ParseError(), "ELF program headers lie beyond the end of the file");
  EXPECT_EQ(wrapping.ParseError(), "ELF program headers lie beyond the end of the file");
  EXPECT_EQ(many.ParseError(), "ELF file has 65535 program headers, more than 64");
  EXPECT_EQ(small.ParseError(), "ELF program headers have 32 bytes each, not 56");
}

TEST(ElfTest, SegmentsOutsideTheFileAreRefused) {
  TestElf offset, size;
  offset.segments[0].p_offset = UINT64_MAX - 2;
  size.segments[1].p_filesz = size.segments[1].p_memsz = UINT64_MAX;

  EXPECT_EQ(offset.ParseError(), "ELF program header 0 lies beyond the end of the file");
  EXPECT_EQ(size.ParseError(), "ELF program header 1 lies beyond the end of the file");
}

TEST(ElfTest, SegmentsThatWrapOrShrinkAreRefused) {
  TestElf physical, virtual_address, shrinking;
  physical.segments[0].p_paddr = UINT64_MAX - 16;
  virtual_address.segments[0].p_vaddr = UINT64_MAX - 16;
  shrinking.segments[0].p_memsz = 1;

  EXPECT_EQ(physical.ParseError(), "ELF program header 0 wraps around the end of the address space");
  EXPECT_EQ(virtual_address.ParseError(), "ELF program header 0 wraps around the end of the address space");
  EXPECT_EQ(shrinking.ParseError(), "ELF program header 0 has more bytes in the file than in memory");
}

TEST(ElfTest, OverlappingSegmentsAreRefused) {
  TestElf elf;
  elf.segments[1].p_paddr = 0x100ffd;

  EXPECT_EQ(elf.ParseError(), "ELF segments at 0x100000 and 0x100ffd overlap");
}

TEST(ElfTest, FileWithoutSegmentsIsRefused) {
  TestElf elf;
  elf.header.e_phnum = 0;

  EXPECT_EQ(elf.ParseError(), "ELF file has no segment to load");
}

TEST(ElfTest, TruncatedNotesAreRefused) {
  TestElf name, description;
  const Elf64_Nhdr long_name = {UINT32_MAX, 0, 1};
  name.segments[2].p_offset = name.AppendBytes(&long_name, sizeof(long_name));
  name.segments[2].p_filesz = sizeof(long_name);
  const Elf64_Nhdr long_description = {0, UINT32_MAX, 1};
  description.segments[2].p_offset = description.AppendBytes(&long_description, sizeof(long_description));
  description.segments[2].p_filesz = sizeof(long_description);

  EXPECT_EQ(name.ParseError(), "note in ELF program header 2 is truncated");
  EXPECT_EQ(description.ParseError(), "note in ELF program header 2 is truncated");
}

TEST(ElfTest, SegmentOutsideMemoryIsRefusedAndNothingWritten) {
  const std::vector<std::byte> bytes = TestElf().Bytes();
  const GuestMemory memory = GuestMemory::Create(2 << 20).value();

  const auto loaded = ElfImage::Parse(bytes).value().Load(memory);

  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().what, "ELF segment of 4 bytes at 0x200000 does not lie in the guest's memory");
  EXPECT_EQ(TextAt(memory, 0x100000, 6), std::string(6, '\0'));
}

}  // namespace
}  // namespace hmvm
