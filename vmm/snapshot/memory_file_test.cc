// Memory written to a file and mapped from it again.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/snapshot/memory_mapper.h"
#include "vmm/snapshot/memory_writer.h"

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kPages = 512;

UniqueFd TemporaryFile() {
  UniqueFd fd(::memfd_create("memory", MFD_CLOEXEC));
  EXPECT_TRUE(fd.valid());
  return fd;
}

// RAM and a window, as a machine of the ring3 platform has them.
class TestMemory {
 public:
  TestMemory() : areas_(ram_.regions().begin(), ram_.regions().end()) {
    areas_.push_back({GuestAddress{kPlatformWindowStart}, window_.bytes()});
  }
  std::span<const MemoryArea> areas() const { return areas_; }
  std::span<std::byte> page(uint64_t number) const {
    return number < kPages ? areas_[0].host.subspan(number * kPageBytes, kPageBytes)
                           : areas_[1].host.subspan((number - kPages) * kPageBytes, kPageBytes);
  }
  void Fill(uint64_t number, uint32_t seed) const {
    std::minstd_rand random(seed);
    for (std::byte& byte : page(number)) byte = static_cast<std::byte>(random());
  }
  bool operator==(const TestMemory& other) const {
    for (uint64_t i = 0; i < areas_.size(); ++i) {
      if (!std::ranges::equal(areas_[i].host, other.areas_[i].host)) return false;
    }
    return true;
  }

 private:
  GuestMemory ram_ = GuestMemory::Create(kPages * kPageBytes).value();
  Mapping window_ = Mapping::Anonymous(64 * kPageBytes).value();
  std::vector<MemoryArea> areas_;
};

void WriteFull(const TestMemory& memory, int fd, MemoryMap& map) {
  MemoryWriter writer = MemoryWriter::Create(memory.areas(), fd, "memory").value();
  ASSERT_TRUE(writer.Write({0, map.total_pages()}).has_value());
  writer.AddTo(map);
}

void WritePages(const TestMemory& memory, int fd, MemoryMap& map, std::span<const PageRun> runs) {
  MemoryWriter writer = MemoryWriter::Create(memory.areas(), fd, "diff").value();
  for (const PageRun& run : runs) ASSERT_TRUE(writer.Write(run).has_value());
  writer.AddTo(map);
}

void FlipBit(int fd, uint64_t bit) {
  uint8_t byte = 0;
  ASSERT_EQ(::pread(fd, &byte, 1, static_cast<off_t>(bit / 8)), 1);
  byte ^= static_cast<uint8_t>(1u << (bit % 8));
  ASSERT_EQ(::pwrite(fd, &byte, 1, static_cast<off_t>(bit / 8)), 1);
}

TEST(MemoryFileTest, MachineGetsBackWhatWasWritten) {
  TestMemory memory;
  for (const uint64_t page : {0, 1, 2, 40, 100, 511, 512, 570})
    memory.Fill(page, static_cast<uint32_t>(page) + 1);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());

  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"memory", file.get()}};
  TestMemory restored;
  const auto verified = VerifyMemory(map, files);
  const auto mapped = MapMemory(map, files, restored.areas());

  ASSERT_TRUE(verified.has_value()) << verified.error().Message();
  ASSERT_TRUE(mapped.has_value()) << mapped.error().Message();
  EXPECT_TRUE(restored == memory);
}

TEST(MemoryFileTest, RestoredMachineWritesToItsOwnPages) {
  TestMemory memory;
  for (uint64_t page = 0; page < 32; ++page) memory.Fill(page, 7);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"memory", file.get()}};
  TestMemory one;
  TestMemory other;
  ASSERT_TRUE(MapMemory(map, files, one.areas()).has_value());
  ASSERT_TRUE(MapMemory(map, files, other.areas()).has_value());

  one.Fill(3, 99);

  EXPECT_TRUE(other == memory);
  EXPECT_TRUE(VerifyMemory(map, files).has_value());
}

TEST(MemoryFileTest, ZeroPagesAreHolesAndFewRunsRemain) {
  TestMemory memory;
  for (const uint64_t page : {0, 10, 200}) memory.Fill(page, 5);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());

  WriteFull(memory, file.get(), map);

  struct stat status;
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), (kPages + 64) * kPageBytes);
  EXPECT_EQ(static_cast<uint64_t>(status.st_blocks) * 512, 3 * kPageBytes);
  EXPECT_THAT(map.files()[0].runs.runs(), ElementsAre(PageRun{0, 11}, PageRun{200, 1}));
}

TEST(MemoryFileTest, PageWrittenAgainCountsAsItWasLast) {
  TestMemory memory;
  memory.Fill(5, 1);
  memory.Fill(6, 2);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  MemoryWriter writer = MemoryWriter::Create(memory.areas(), file.get(), "memory").value();

  ASSERT_TRUE(writer.Write({0, map.total_pages()}).has_value());
  memory.Fill(5, 3);
  std::ranges::fill(memory.page(6), std::byte{0});
  ASSERT_TRUE(writer.Write({5, 2}).has_value());
  writer.AddTo(map);
  const MemoryFile files[] = {{"memory", file.get()}};
  TestMemory restored;

  EXPECT_TRUE(VerifyMemory(map, files).has_value());
  ASSERT_TRUE(MapMemory(map, files, restored.areas()).has_value());
  EXPECT_TRUE(restored == memory);
}

TEST(MemoryFileTest, ChainIsMappedAsTheLastOfItWas) {
  TestMemory memory;
  for (uint64_t page = 0; page < 100; ++page) memory.Fill(page, static_cast<uint32_t>(page) + 1);
  const UniqueFd full = TemporaryFile();
  const UniqueFd first = TemporaryFile();
  const UniqueFd second = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, full.get(), map);
  for (uint64_t page = 20; page < 60; ++page) memory.Fill(page, 1000);
  const PageRun in_first[] = {{20, 40}};
  WritePages(memory, first.get(), map, in_first);
  memory.Fill(30, 2000);
  memory.Fill(520, 2001);
  std::ranges::fill(memory.page(31), std::byte{0});
  const PageRun in_second[] = {{30, 2}, {520, 1}};
  WritePages(memory, second.get(), map, in_second);

  const MemoryFile files[] = {{"full", full.get()}, {"first", first.get()}, {"second", second.get()}};
  TestMemory restored;
  const auto mapped = MapMemory(map, files, restored.areas());

  ASSERT_TRUE(mapped.has_value()) << mapped.error().Message();
  EXPECT_TRUE(VerifyMemory(map, files).has_value());
  EXPECT_TRUE(restored == memory);
}

TEST(MemoryFileTest, FlippedBitsAreRefusedOrHarmless) {
  TestMemory memory;
  for (uint64_t page = 0; page < 200; page += page % 7 + 1)
    memory.Fill(page, static_cast<uint32_t>(page) + 1);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"memory", file.get()}};
  std::minstd_rand random(1);
  int refused = 0;

  for (int i = 0; i < 200; ++i) {
    const uint64_t bit = random() % (map.total_pages() * kPageBytes * 8);
    FlipBit(file.get(), bit);
    const auto verified = VerifyMemory(map, files);
    TestMemory restored;
    ASSERT_TRUE(MapMemory(map, files, restored.areas()).has_value());
    refused += verified.has_value() ? 0 : 1;
    EXPECT_TRUE(!verified.has_value() || restored == memory) << "bit " << bit;
    FlipBit(file.get(), bit);
  }

  EXPECT_GT(refused, 20);
}

TEST(MemoryFileTest, FlippedBitOfTheManifestIsRefusedOrHarmless) {
  TestMemory memory;
  for (uint64_t page = 0; page < 64; ++page) memory.Fill(page, static_cast<uint32_t>(page) + 1);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"memory", file.get()}};
  const std::string good = map.ToManifest().SerializeAsString();

  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    snapshot::MemoryManifest manifest;
    TestMemory restored;
    const bool parsed = manifest.ParseFromString(bytes);
    const auto wrong = MemoryMap::FromManifest(manifest);
    const bool taken = parsed && wrong.has_value() && VerifyMemory(*wrong, files).has_value() &&
                       MapMemory(*wrong, files, restored.areas()).has_value();
    EXPECT_TRUE(!taken || restored == memory) << "bit " << bit;
  }
}

TEST(MemoryFileTest, CorruptPlaceIsNamed) {
  TestMemory memory;
  memory.Fill(33, 4);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"web/memory", file.get()}};

  FlipBit(file.get(), 33 * kPageBytes * 8);
  const auto verified = VerifyMemory(map, files);

  ASSERT_FALSE(verified.has_value());
  EXPECT_THAT(verified.error().what, HasSubstr("'web/memory' is corrupt between bytes 135168 and 139264"));
}

TEST(MemoryFileTest, FileCutShortAndFilesMissingAreRefused) {
  TestMemory memory;
  memory.Fill(33, 4);
  const UniqueFd file = TemporaryFile();
  MemoryMap map(memory.areas());
  WriteFull(memory, file.get(), map);
  const MemoryFile files[] = {{"memory", file.get()}};
  ASSERT_EQ(::ftruncate(file.get(), 100 * kPageBytes), 0);
  TestMemory restored;

  const auto cut = MapMemory(map, files, restored.areas());
  const auto missing = MapMemory(map, {}, restored.areas());

  ASSERT_FALSE(cut.has_value());
  EXPECT_THAT(cut.error().what, HasSubstr("cut short"));
  ASSERT_FALSE(missing.has_value());
  EXPECT_THAT(missing.error().what, HasSubstr("in 1 files, not 0"));
}

TEST(MemoryFileTest, FileThatCannotBeWrittenIsNamed) {
  TestMemory memory;
  const UniqueFd file = TemporaryFile();
  const UniqueFd read_only = OpenFile("/proc/self/fd/" + std::to_string(file.get()), O_RDONLY).value();

  const auto created = MemoryWriter::Create(memory.areas(), read_only.get(), "web/memory");

  ASSERT_FALSE(created.has_value());
  EXPECT_THAT(created.error().what, HasSubstr("web/memory"));
}

}  // namespace
}  // namespace hmvm
