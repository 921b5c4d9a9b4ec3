#include "vmm/snapshot/archive.h"

#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/snapshot/memory_copy.h"
#include "vmm/snapshot/memory_writer.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

constexpr uint64_t kPages = 1024;

UniqueFd TemporaryFile() { return UniqueFd(::memfd_create("file", MFD_CLOEXEC)); }

class ArchiveTest : public testing::Test {
 protected:
  ArchiveTest() {
    for (const PageRun& run : {PageRun{0, 70}, PageRun{100, 1}, PageRun{300, 33}, PageRun{1023, 1}}) {
      for (uint64_t page = run.first; page < run.end(); ++page) Fill(page, static_cast<uint32_t>(page) + 1);
    }
  }
  void Fill(uint64_t page, uint32_t seed) {
    std::array<uint32_t, kPageBytes / 4> words;
    std::minstd_rand random(seed);
    std::ranges::generate(words, [&random] { return random() & 0xff00; });  // some of it can be compressed
    ASSERT_TRUE(memory_.Write(GuestAddress{page * kPageBytes}, words).has_value());
  }
  std::span<const MemoryArea> areas() const { return memory_.regions(); }
  MemoryMap Write(const UniqueFd& file, const MemoryMap& parent, std::span<const PageRun> runs) {
    MemoryMap map = parent;
    MemoryWriter writer = MemoryWriter::Create(areas(), file.get(), "memory").value();
    for (const PageRun& run : runs) EXPECT_TRUE(writer.Write(run).has_value());
    writer.AddTo(map);
    return map;
  }
  MemoryMap WriteFull(const UniqueFd& file) {
    const PageRun all[] = {{0, kPages}};
    return Write(file, MemoryMap(areas()), all);
  }
  UniqueFd Pack(const MemoryMap& map) {
    UniqueFd file = TemporaryFile();
    const ArchiveFile files[] = {{"machine.pb", "state"}, {"container.json", "{}"}};
    const auto written = WriteArchive(file.get(), "web.zst", files, map, areas());
    EXPECT_TRUE(written.has_value()) << written.error().Message();
    return file;
  }
  bool IsMemory(const MemoryMap& map, const UniqueFd& file) const {
    const MemoryFile files[] = {{"memory", file.get()}};
    const MemoryRoom room = MemoryRoom::Create(map).value();
    return VerifyMemory(map, files).has_value() && MapMemory(map, files, room.areas()).has_value() &&
           std::ranges::equal(room.areas()[0].host, areas()[0].host);
  }

  GuestMemory memory_ = GuestMemory::Create(kPages * kPageBytes).value();
};

TEST_F(ArchiveTest, WhatIsUnpackedIsWhatWasPacked) {
  const UniqueFd memory_file = TemporaryFile();
  const MemoryMap map = WriteFull(memory_file);
  const UniqueFd packed = Pack(map);
  const UniqueFd unpacked = TemporaryFile();

  const Archive archive = Archive::Open(packed.get(), "web.zst").value();
  const auto again = UnpackMemory(archive, unpacked.get(), "memory");

  ASSERT_TRUE(again.has_value()) << again.error().Message();
  ASSERT_EQ(archive.files().size(), 2u);
  EXPECT_EQ(archive.files()[0].name, "machine.pb");
  EXPECT_EQ(archive.files()[1].content, "{}");
  EXPECT_TRUE(IsMemory(*again, unpacked));
  EXPECT_LT(FileSize(packed.get(), "packed").value(), 105 * kPageBytes);
}

TEST_F(ArchiveTest, EachPageIsInItsFrame) {
  const UniqueFd memory_file = TemporaryFile();
  const UniqueFd packed = Pack(WriteFull(memory_file));
  const Archive archive = Archive::Open(packed.get(), "web.zst").value();
  ArchivePages pages;

  for (const uint64_t page : {0, 31, 32, 69, 100, 300, 332, 1023}) {
    ASSERT_TRUE(archive.ReadFrame(archive.FrameOf(page), pages).has_value());
    std::span<const std::byte> bytes = pages.bytes;
    bool found = false;
    for (const PageRun& run : pages.runs) {
      if (page >= run.first && page < run.end()) {
        found = true;
        EXPECT_TRUE(std::ranges::equal(bytes.subspan((page - run.first) * kPageBytes, kPageBytes),
                                       memory_.Slice(GuestAddress{page * kPageBytes}, kPageBytes).value()));
      }
      bytes = bytes.subspan(run.count * kPageBytes);
    }
    EXPECT_TRUE(found) << page;
  }
}

TEST_F(ArchiveTest, FlippedBitsAreRefusedOrHarmless) {
  const UniqueFd memory_file = TemporaryFile();
  const UniqueFd packed = Pack(WriteFull(memory_file));
  const uint64_t bits = FileSize(packed.get(), "packed").value() * 8;
  std::minstd_rand random(1);

  for (int i = 0; i < 200; ++i) {
    const uint64_t bit = random() % bits;
    uint8_t byte = 0;
    ASSERT_EQ(::pread(packed.get(), &byte, 1, static_cast<off_t>(bit / 8)), 1);
    const uint8_t flipped = byte ^ static_cast<uint8_t>(1u << bit % 8);
    ASSERT_EQ(::pwrite(packed.get(), &flipped, 1, static_cast<off_t>(bit / 8)), 1);
    const auto archive = Archive::Open(packed.get(), "web.zst");
    const UniqueFd unpacked = TemporaryFile();
    const auto again = archive.has_value() ? UnpackMemory(*archive, unpacked.get(), "memory")
                                           : Result<MemoryMap>(archive.error());
    EXPECT_TRUE(!again.has_value() || (IsMemory(*again, unpacked) && archive->files()[0].content == "state"))
        << "bit " << bit;
    ASSERT_EQ(::pwrite(packed.get(), &byte, 1, static_cast<off_t>(bit / 8)), 1);
  }
}

TEST_F(ArchiveTest, CutOrForeignFilesAreRefusedByName) {
  const UniqueFd memory_file = TemporaryFile();
  const UniqueFd packed = Pack(WriteFull(memory_file));
  ASSERT_EQ(::ftruncate(packed.get(), static_cast<off_t>(FileSize(packed.get(), "packed").value() - 100)), 0);
  const UniqueFd foreign = TemporaryFile();
  ASSERT_TRUE(WriteAll(foreign.get(), std::string_view("some text that is no archive")).has_value());

  const auto cut = Archive::Open(packed.get(), "web.zst");
  const auto other = Archive::Open(foreign.get(), "notes.txt");

  ASSERT_FALSE(cut.has_value());
  EXPECT_THAT(cut.error().what, HasSubstr("'web.zst' is no exported snapshot, or damaged"));
  ASSERT_FALSE(other.has_value());
  EXPECT_THAT(other.error().what, HasSubstr("'notes.txt'"));
}

TEST_F(ArchiveTest, MergedChainIsOneFullFile) {
  const UniqueFd full = TemporaryFile();
  const UniqueFd diff = TemporaryFile();
  const UniqueFd merged = TemporaryFile();
  const MemoryMap base = WriteFull(full);
  Fill(5, 1000);
  Fill(700, 1001);
  ASSERT_TRUE(memory_.Write(GuestAddress{100 * kPageBytes}, std::array<uint64_t, 512>()).has_value());
  const PageRun changed[] = {{5, 1}, {100, 1}, {700, 1}};
  const MemoryMap chain = Write(diff, base, changed);
  const MemoryFile files[] = {{"full", full.get()}, {"diff", diff.get()}};

  const auto map = MergeMemory(chain, files, merged.get(), "merged");

  ASSERT_TRUE(map.has_value()) << map.error().Message();
  EXPECT_EQ(map->files().size(), 1u);
  EXPECT_TRUE(IsMemory(*map, merged));
  const UniqueFd same = TemporaryFile();
  EXPECT_EQ(map->files()[0].id, WriteFull(same).files()[0].id);
}

}  // namespace
}  // namespace hmvm
