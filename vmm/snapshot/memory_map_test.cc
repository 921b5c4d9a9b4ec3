#include "vmm/snapshot/memory_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// 64 pages from 0 and 16 at 1 MiB; a full file of two chunks, and a diff of one.
snapshot::MemoryManifest TwoFiles() {
  snapshot::MemoryManifest manifest;
  auto& ram = *manifest.add_areas();
  ram.set_bytes(64 * kPageBytes);
  auto& window = *manifest.add_areas();
  window.set_start(1 << 20);
  window.set_bytes(16 * kPageBytes);
  auto& full = *manifest.add_files();
  for (const uint32_t number : {8, 16}) full.add_runs(number);
  for (const uint64_t checksum : {1, 2}) full.add_checksums(checksum);
  MemoryMap map = MemoryMap::FromManifest(manifest).value();
  PageRuns changed;
  changed.Append({10, 1});
  changed.Append({70, 2});
  map.AddFile(changed, {3, 4});
  return map.ToManifest();
}

std::string Refusal(const snapshot::MemoryManifest& manifest) {
  const auto map = MemoryMap::FromManifest(manifest);
  return map.has_value() ? "taken" : map.error().what;
}

TEST(MemoryMapTest, ManifestSaysAgainWhatItSaid) {
  const MemoryMap map = MemoryMap::FromManifest(TwoFiles()).value();

  EXPECT_EQ(map.ToManifest().SerializeAsString(), TwoFiles().SerializeAsString());
  EXPECT_THAT(map.files()[1].runs.runs(), ElementsAre(PageRun{10, 1}, PageRun{70, 2}));
  EXPECT_EQ(map.total_pages(), 80u);
}

TEST(MemoryMapTest, LaterFileHidesThePagesItHas) {
  const auto visible = MemoryMap::FromManifest(TwoFiles()).value().Visible();

  EXPECT_THAT(visible[0].runs(), ElementsAre(PageRun{8, 2}, PageRun{11, 13}));
  EXPECT_THAT(visible[1].runs(), ElementsAre(PageRun{10, 1}, PageRun{70, 2}));
}

TEST(MemoryMapTest, DiffOfAnotherFileIsRefused) {
  snapshot::MemoryManifest manifest = TwoFiles();
  manifest.mutable_files(0)->set_checksums(0, 9);

  EXPECT_THAT(Refusal(manifest), HasSubstr("file 2 is no diff of the file before it"));
}

TEST(MemoryMapTest, DiffAloneIsRefused) {
  snapshot::MemoryManifest manifest = TwoFiles();
  manifest.mutable_files()->DeleteSubrange(0, 1);

  EXPECT_THAT(Refusal(manifest), HasSubstr("file 1 is a diff of another"));
}

TEST(MemoryMapTest, RunBeyondTheMemoryIsRefused) {
  snapshot::MemoryManifest manifest = TwoFiles();
  manifest.mutable_files(0)->set_runs(1, 73);

  EXPECT_THAT(Refusal(manifest), HasSubstr("beyond the memory"));
}

TEST(MemoryMapTest, RunsOfNothingAndHalfRunsAreRefused) {
  snapshot::MemoryManifest empty = TwoFiles();
  empty.mutable_files(0)->set_runs(1, 0);
  snapshot::MemoryManifest half = TwoFiles();
  half.mutable_files(0)->add_runs(1);

  EXPECT_THAT(Refusal(empty), HasSubstr("an empty run"));
  EXPECT_THAT(Refusal(half), HasSubstr("half a run"));
}

TEST(MemoryMapTest, ChecksumsMustBeAsManyAsChunks) {
  snapshot::MemoryManifest manifest = TwoFiles();
  manifest.mutable_files(0)->add_checksums(5);

  EXPECT_THAT(Refusal(manifest), HasSubstr("has 3 checksums for 2 chunks"));
}

TEST(MemoryMapTest, AreasThatOverlapWrapOrAreNoPagesAreRefused) {
  snapshot::MemoryManifest overlap = TwoFiles();
  overlap.mutable_areas(1)->set_start(63 * kPageBytes);
  snapshot::MemoryManifest wrap = TwoFiles();
  wrap.mutable_areas(1)->set_start(0 - kPageBytes);
  snapshot::MemoryManifest part = TwoFiles();
  part.mutable_areas(1)->set_bytes(100);
  snapshot::MemoryManifest huge = TwoFiles();
  huge.mutable_areas(1)->set_bytes(1ull << 60);

  EXPECT_THAT(Refusal(overlap), HasSubstr("overlap"));
  EXPECT_THAT(Refusal(wrap), HasSubstr("too large"));
  EXPECT_THAT(Refusal(part), HasSubstr("part pages"));
  EXPECT_THAT(Refusal(huge), HasSubstr("too large"));
}

TEST(MemoryMapTest, EmptyManifestIsRefused) { EXPECT_THAT(Refusal({}), HasSubstr("no areas")); }

TEST(MemoryMapTest, MachineOfAnotherSizeIsRefused) {
  const MemoryMap map = MemoryMap::FromManifest(TwoFiles()).value();
  const GuestMemory memory = GuestMemory::Create(64 * kPageBytes).value();

  EXPECT_FALSE(map.CheckAreas(memory.regions()).has_value());
}

}  // namespace
}  // namespace hmvm
