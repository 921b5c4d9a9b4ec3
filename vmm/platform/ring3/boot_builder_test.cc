#include "vmm/platform/ring3/boot_builder.h"

#include <elf.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "vmm/platform/ring3/guest_access.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kVirtualBase = 0xffffffff80000000;
constexpr uint64_t kEntry = kVirtualBase + 0x1000123;
constexpr uint64_t kKernelStart = 0x1000000;
constexpr uint64_t kMiB = 1 << 20;

// A kernel of one page at 16 MiB with the notes of a PV kernel, as far as asked for.
std::vector<std::byte> Kernel(std::vector<std::pair<uint32_t, uint64_t>> notes) {
  struct Note {
    Elf64_Nhdr header;
    char name[4];
    uint64_t value;
  } __attribute__((packed));
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;
  Elf64_Phdr segments[2] = {};
  segments[0].p_type = PT_LOAD;
  segments[0].p_vaddr = kVirtualBase + kKernelStart;
  segments[0].p_paddr = kKernelStart;
  segments[0].p_filesz = sizeof(header);
  segments[0].p_memsz = kPageSize;
  segments[1].p_type = PT_NOTE;
  segments[1].p_align = 4;
  segments[1].p_offset = sizeof(header) + sizeof(segments);
  segments[1].p_filesz = notes.size() * sizeof(Note);
  std::vector<std::byte> file(segments[1].p_offset + segments[1].p_filesz);
  std::memcpy(file.data(), &header, sizeof(header));
  std::memcpy(file.data() + sizeof(header), segments, sizeof(segments));
  for (size_t i = 0; i < notes.size(); ++i) {
    const Note note = {{4, 8, notes[i].first}, {'X', 'e', 'n', 0}, notes[i].second};
    std::memcpy(file.data() + segments[1].p_offset + i * sizeof(note), &note, sizeof(note));
  }
  return file;
}

std::vector<std::byte> PvKernel() { return Kernel({{kNoteEntry, kEntry}, {kNoteVirtBase, kVirtualBase}}); }

struct Machine {
  explicit Machine(uint64_t mib)
      : memory(*GuestMemory::Create(mib * kMiB)), window(*Window::Create(memory, 1)) {}
  GuestMemory memory;
  Window window;
};

TEST(BootBuilderTest, KernelFindsItsStartInfoThroughTheFirstTables) {
  const Machine machine(128);
  const std::vector<std::byte> kernel = PvKernel();
  const std::vector<std::byte> initrd(5000, std::byte{0x5a});

  const auto state = BuildBoot({kernel, initrd, "answer=42"}, machine.memory, machine.window);

  ASSERT_TRUE(state.has_value()) << state.error().Message();
  EXPECT_EQ(state->registers.rip, kEntry);
  const GuestAccess access(&machine.memory);
  StartInfo info;
  ASSERT_TRUE(access.Read(state->root, state->registers.rsi, &info));
  EXPECT_STREQ(info.magic, kStartInfoMagic);
  EXPECT_EQ(info.nr_pages, 128 * kMiB / kPageSize);
  EXPECT_NE(std::string(info.cmd_line).find("answer=42"), std::string::npos);
  char entry[64];
  std::snprintf(entry, sizeof(entry), "xen_hypercall_entry=0x%" PRIx64 ",0x10000 ",
                machine.window.header(0).hypercall_call);
  EXPECT_NE(std::string(info.cmd_line).find(entry), std::string::npos) << info.cmd_line;
  EXPECT_EQ(info.mod_len, initrd.size());
  std::byte first;
  ASSERT_TRUE(access.Read(state->root, info.mod_start, &first));
  EXPECT_EQ(first, std::byte{0x5a});
  uint64_t frame;
  ASSERT_TRUE(access.Read(state->root, info.mfn_list + 8 * 1234, &frame));
  EXPECT_EQ(frame, 1234U);
  std::byte stack;
  EXPECT_TRUE(access.Read(state->root, state->registers.rsp - 1, &stack));
}

TEST(BootBuilderTest, FirstTablesMapThemselvesAndMore) {
  const Machine machine(128);
  const std::vector<std::byte> kernel = PvKernel();
  const auto state = BuildBoot({kernel, {}, ""}, machine.memory, machine.window);
  ASSERT_TRUE(state.has_value());
  const GuestAccess access(&machine.memory);
  StartInfo info;
  ASSERT_TRUE(access.Read(state->root, state->registers.rsi, &info));

  const uint64_t last = info.pt_base + info.nr_pt_frames * kPageSize;

  EXPECT_EQ(access.Translate(state->root, last - 1), GuestAddress{last - 1 - kVirtualBase});
  EXPECT_TRUE(access.Translate(state->root, last + 512 * 1024).has_value());
}

TEST(BootBuilderTest, FramesOfTheHoleAreInvalid) {
  const Machine machine(3 * 1024 + 64);
  const std::vector<std::byte> kernel = PvKernel();

  const auto state = BuildBoot({kernel, {}, ""}, machine.memory, machine.window);

  ASSERT_TRUE(state.has_value()) << state.error().Message();
  const GuestAccess access(&machine.memory);
  StartInfo info;
  ASSERT_TRUE(access.Read(state->root, state->registers.rsi, &info));
  EXPECT_EQ(info.nr_pages, (kHighRamStart + 64 * kMiB) / kPageSize);
  const auto frame = [&](uint64_t index) {
    uint64_t value = 0;
    EXPECT_TRUE(access.Read(state->root, info.mfn_list + 8 * index, &value));
    return value;
  };
  EXPECT_EQ(frame(kLowRamEnd / kPageSize - 1), kLowRamEnd / kPageSize - 1);
  EXPECT_EQ(frame(kLowRamEnd / kPageSize), kInvalidFrame);
  EXPECT_EQ(frame(kHighRamStart / kPageSize - 1), kInvalidFrame);
  EXPECT_EQ(frame(kHighRamStart / kPageSize), kHighRamStart / kPageSize);
}

TEST(BootBuilderTest, TooLittleMemoryIsToldWithWhatIsNeeded) {
  const Machine machine(20);
  const std::vector<std::byte> kernel = PvKernel();

  const auto state = BuildBoot({kernel, {}, ""}, machine.memory, machine.window);

  ASSERT_FALSE(state.has_value());
  EXPECT_EQ(state.error().code, ENOMEM);
  EXPECT_NE(state.error().what.find("at least"), std::string::npos);
}

TEST(BootBuilderTest, InitrdThatDoesNotFitIsNamed) {
  const Machine machine(64);
  const std::vector<std::byte> kernel = PvKernel();
  const std::vector<std::byte> initrd(64 * kMiB);

  const auto state = BuildBoot({kernel, initrd, ""}, machine.memory, machine.window);

  ASSERT_FALSE(state.has_value());
  EXPECT_NE(state.error().what.find("initrd"), std::string::npos);
}

TEST(BootBuilderTest, KernelWithoutPvNotesIsRefused) {
  const Machine machine(64);
  const std::vector<std::byte> kernel = Kernel({{kNoteVirtBase, kVirtualBase}});

  const auto state = BuildBoot({kernel, {}, ""}, machine.memory, machine.window);

  ASSERT_FALSE(state.has_value());
  EXPECT_NE(state.error().what.find("CONFIG_XEN_PV"), std::string::npos);
}

TEST(BootBuilderTest, CommandLineThatDoesNotFitIsRefused) {
  const Machine machine(64);
  const std::vector<std::byte> kernel = PvKernel();

  const auto state = BuildBoot({kernel, {}, std::string(1024, 'x')}, machine.memory, machine.window);

  ASSERT_FALSE(state.has_value());
  EXPECT_EQ(state.error().code, E2BIG);
}

}  // namespace
}  // namespace hmvm::ring3
