#include "vmm/snapshot/folder.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "vmm/snapshot/memory_copy.h"
#include "vmm/snapshot/memory_writer.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kPages = 256;

// Two snapshots, "full" and "diff" upon it, as they are kept.
class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "hmvm-snapshot-folder-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (uint64_t page = 0; page < 100; ++page) Fill(page, static_cast<uint32_t>(page) + 1);
    const PageRun all[] = {{0, kPages}};
    Write("full", all);
    Fill(7, 1000);
    const PageRun changed[] = {{7, 1}};
    Write("diff", changed);
    fs::create_hard_link(Path("full") + "/memory", Path("diff") + "/memory.0");
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string Path(const std::string& name) const { return dir_ / name; }
  void Fill(uint64_t page, uint32_t seed) {
    std::array<uint32_t, kPageBytes / 4> words;
    std::minstd_rand random(seed);
    std::ranges::generate(words, random);
    ASSERT_TRUE(memory_.Write(GuestAddress{page * kPageBytes}, words).has_value());
  }
  void Write(const std::string& name, std::span<const PageRun> runs) {
    fs::create_directory(Path(name));
    const UniqueFd file = OpenFile(Path(name) + "/memory", O_RDWR | O_CREAT, 0600).value();
    MemoryWriter writer = MemoryWriter::Create(memory_.regions(), file.get(), "memory").value();
    for (const PageRun& run : runs) ASSERT_TRUE(writer.Write(run).has_value());
    writer.AddTo(map_);
    snapshot::MachineState state;
    state.set_platform("ring3");
    *state.mutable_memory() = map_.ToManifest();
    ASSERT_TRUE(WriteFileAtomic(Path(name) + "/machine.pb", EncodeState(state)).has_value());
    ASSERT_TRUE(WriteFileAtomic(Path(name) + "/container.json", "{\"name\": \"" + name + "\"}").has_value());
  }
  // Whether the folder is a full snapshot of the memory as it is, with the diff's other files.
  void ExpectWhole(const std::string& name) const {
    const UniqueFd state_file = OpenFile(Path(name) + "/machine.pb", O_RDONLY).value();
    const auto state = ReadState(state_file.get(), name);
    ASSERT_TRUE(state.has_value()) << state.error().Message();
    const MemoryMap map = MemoryMap::FromManifest(state->memory()).value();
    const UniqueFd memory_file = OpenFile(Path(name) + "/memory", O_RDONLY).value();
    const MemoryFile files[] = {{name, memory_file.get()}};
    const MemoryRoom room = MemoryRoom::Create(map).value();
    EXPECT_TRUE(VerifyMemory(map, files).has_value());
    ASSERT_TRUE(MapMemory(map, files, room.areas()).has_value());
    EXPECT_TRUE(std::ranges::equal(room.areas()[0].host, memory_.regions()[0].host));
    EXPECT_EQ(ReadFile(Path(name) + "/container.json").value(), "{\"name\": \"diff\"}");
    EXPECT_EQ(state->platform(), "ring3");
  }
  std::vector<std::string> Partials() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_)) {
      if (entry.path().extension() == ".partial") names.push_back(entry.path());
    }
    return names;
  }

  fs::path dir_;
  GuestMemory memory_ = GuestMemory::Create(kPages * kPageBytes).value();
  MemoryMap map_{memory_.regions()};
};

TEST_F(FolderTest, ChainIsExportedAndImportedAsOneSnapshot) {
  const auto exported = ExportSnapshot(Path("diff"), Path("web.zst"));
  const auto imported = ImportSnapshot(Path("web.zst"), Path("imported"));

  ASSERT_TRUE(exported.has_value()) << exported.error().Message();
  ASSERT_TRUE(imported.has_value()) << imported.error().Message();
  ExpectWhole("imported");
  EXPECT_THAT(Partials(), IsEmpty());
}

TEST_F(FolderTest, FileThatIsThereIsReplacedOnlyByAWholeOne) {
  ASSERT_TRUE(WriteFileAtomic(Path("web.zst"), "of old").has_value());
  const std::string memory = Path("full") + "/memory";
  const auto good = ReadFile(memory).value();
  ASSERT_TRUE(WriteFileAtomic(memory, good.substr(0, good.size() / 2)).has_value());

  EXPECT_FALSE(ExportSnapshot(Path("full"), Path("web.zst")).has_value());
  EXPECT_EQ(ReadFile(Path("web.zst")).value(), "of old");
  ASSERT_TRUE(WriteFileAtomic(memory, good).has_value());
  EXPECT_TRUE(ExportSnapshot(Path("full"), Path("web.zst")).has_value());
  EXPECT_TRUE(InspectArchive(Path("web.zst")).has_value());
  EXPECT_FALSE(ExportSnapshot(Path("full"), "/dev/null").has_value());
  EXPECT_THAT(Partials(), IsEmpty());
}

TEST_F(FolderTest, ArchiveIsWrittenToAPipeAsToAFile) {
  ASSERT_TRUE(ExportSnapshot(Path("diff"), Path("web.zst")).has_value());
  Pipe pipe = MakePipe().value();
  std::string piped;
  std::thread reader([&] {
    for (char buffer[4096];;) {
      const ssize_t got = ::read(pipe.read.get(), buffer, sizeof(buffer));
      if (got <= 0) return;
      piped.append(buffer, static_cast<size_t>(got));
    }
  });
  const auto exported = ExportSnapshotTo(Path("diff"), pipe.write.get(), "pipe");
  pipe.write.reset();
  reader.join();

  EXPECT_TRUE(exported.has_value());
  EXPECT_EQ(piped, ReadFile(Path("web.zst")).value());
}

TEST_F(FolderTest, ArchiveTellsWhatItIs) {
  ASSERT_TRUE(ExportSnapshot(Path("diff"), Path("web.zst")).has_value());

  const auto report = nlohmann::json::parse(InspectArchive(Path("web.zst")).value());

  EXPECT_EQ(report["machine"]["platform"], "ring3");
  EXPECT_EQ(report["machine"]["memory_files"], 1);
  EXPECT_EQ(report["files"]["container.json"], "{\"name\": \"diff\"}");
  EXPECT_THAT(InspectArchive(Path("diff") + "/memory").error().what, HasSubstr("is no exported snapshot"));
}

TEST_F(FolderTest, ChainIsMerged) {
  const auto merged = MergeSnapshot(Path("diff"), Path("merged"));

  ASSERT_TRUE(merged.has_value()) << merged.error().Message();
  ExpectWhole("merged");
}

TEST_F(FolderTest, DamagedChainIsRefusedAndLeavesNothing) {
  const UniqueFd file = OpenFile(Path("full") + "/memory", O_RDWR).value();
  ASSERT_EQ(::pwrite(file.get(), "wrong", 5, 50 * kPageBytes), 5);

  const auto exported = ExportSnapshot(Path("diff"), Path("web.zst"));
  const auto merged = MergeSnapshot(Path("diff"), Path("merged"));

  ASSERT_FALSE(exported.has_value());
  EXPECT_THAT(exported.error().what, HasSubstr("diff/memory.0' is corrupt"));
  EXPECT_FALSE(merged.has_value());
  EXPECT_FALSE(fs::exists(Path("web.zst")) || fs::exists(Path("merged")));
  EXPECT_THAT(Partials(), IsEmpty());
}

TEST_F(FolderTest, DiffWithoutItsParentIsRefused) {
  fs::remove(Path("diff") + "/memory.0");

  const auto exported = ExportSnapshot(Path("diff"), Path("web.zst"));

  ASSERT_FALSE(exported.has_value());
  EXPECT_THAT(exported.error().what, HasSubstr("diff/memory.0"));
}

TEST_F(FolderTest, NamesThatLeadElsewhereAreRefused) {
  const MemoryRoom room = MemoryRoom::Create(map_).value();
  const MemoryMap whole = SumMemory(map_, memory_.regions()).value();
  snapshot::MachineState state;
  *state.mutable_memory() = whole.ToManifest();
  for (const std::string name : {"../escaped", "memory", "memory.0", ".hidden", ""}) {
    const ArchiveFile files[] = {{"machine.pb", EncodeState(state)}, {name, "x"}};
    const UniqueFd out = OpenFile(Path("evil.zst"), O_RDWR | O_CREAT | O_TRUNC, 0600).value();
    ASSERT_TRUE(WriteArchive(out.get(), "evil.zst", files, whole, memory_.regions()).has_value());

    EXPECT_FALSE(ImportSnapshot(Path("evil.zst"), Path("imported")).has_value()) << name;
    EXPECT_FALSE(fs::exists(Path("imported")) || fs::exists(Path("escaped"))) << name;
  }
}

TEST_F(FolderTest, FolderThatIsThereIsLeftAlone) {
  ASSERT_TRUE(ExportSnapshot(Path("full"), Path("web.zst")).has_value());

  const auto imported = ImportSnapshot(Path("web.zst"), Path("diff"));

  ASSERT_FALSE(imported.has_value());
  EXPECT_EQ(imported.error().code, EEXIST);
  EXPECT_TRUE(fs::exists(Path("diff") + "/memory"));
}

}  // namespace
}  // namespace hmvm
