#include "vmm/snapshot/memory_saver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "vmm/snapshot/memory_mapper.h"

namespace hmvm {
namespace {

using testing::HasSubstr;
using testing::Lt;

constexpr uint64_t kPages = 4096;

// The guest of these tests is a thread that writes as devices do.
class NoLog final : public GuestWriteLog {
 public:
  Result<> TurnOn() override { return {}; }
  Result<> TurnOff() override { return {}; }
  Result<> Collect(size_t, std::span<uint64_t>) override { return {}; }
};

class MemorySaverTest : public testing::Test {
 protected:
  MemorySaverTest()
      : dirty_(&memory_, {memory_.regions()[0]}, std::make_unique<NoLog>(), [](OwnWrites&) {}),
        saver_(&dirty_, &touched_, std::nullopt) {}

  void Fill(uint64_t page, uint32_t seed) {
    std::array<uint32_t, kPageBytes / 4> words;
    std::minstd_rand random(seed);
    std::ranges::generate(words, random);
    ASSERT_TRUE(memory_.Write(GuestAddress{page * kPageBytes}, words).has_value());
  }

  std::vector<std::byte> Content() const {
    const std::span<const std::byte> bytes = memory_.regions()[0].host;
    return {bytes.begin(), bytes.end()};
  }

  // Takes one into a new file, with nothing going on meanwhile.
  Result<MemoryMap> Save(bool live, std::optional<MemoryFileId> diff_of, bool passing = false) {
    return SaveBy(saver_, live, diff_of, passing);
  }
  Result<MemoryMap> SaveBy(MemorySaver& saver, bool live, std::optional<MemoryFileId> diff_of, bool passing) {
    files_.emplace_back(::memfd_create("memory", MFD_CLOEXEC));
    HMVM_TRY(saver.BeforePause({.file = files_.back().get(),
                                .name = "memory",
                                .live = live,
                                .diff_of = diff_of,
                                .passing = passing}));
    HMVM_TRY(saver.WhilePaused());
    return saver.AfterPause();
  }

  std::vector<std::byte> Restored(const MemoryMap& map, std::vector<size_t> indexes) const {
    std::vector<MemoryFile> files;
    for (const size_t index : indexes) files.push_back({"memory", files_[index].get()});
    const GuestMemory memory = GuestMemory::Create(kPages * kPageBytes).value();
    const auto verified = VerifyMemory(map, files);
    EXPECT_TRUE(verified.has_value()) << verified.error().Message();
    const auto mapped = MapMemory(map, files, memory.regions());
    EXPECT_TRUE(mapped.has_value()) << mapped.error().Message();
    const std::span<const std::byte> bytes = memory.regions()[0].host;
    return {bytes.begin(), bytes.end()};
  }

  GuestMemory memory_ = GuestMemory::Create(kPages * kPageBytes).value();
  DirtyPages dirty_;
  const TouchedPages touched_ = TouchedPages::Open().value();
  MemorySaver saver_;
  std::vector<UniqueFd> files_;
};

TEST_F(MemorySaverTest, DiffsHaveWhatChangedAndTheirChainIsTheLastState) {
  for (uint64_t page = 0; page < 1000; ++page) Fill(page, static_cast<uint32_t>(page) + 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  Fill(7, 77);
  Fill(3000, 78);
  const MemoryMap first = Save(false, full.files().back().id).value();
  const uint64_t first_bytes = saver_.report().written_bytes;
  Fill(8, 88);
  const MemoryMap second = Save(true, first.files().back().id).value();

  EXPECT_EQ(first_bytes, 2 * kPageBytes);
  EXPECT_EQ(saver_.report().written_bytes, kPageBytes);
  EXPECT_EQ(second.files().size(), 3u);
  EXPECT_EQ(Restored(second, {0, 1, 2}), Content());
}

TEST_F(MemorySaverTest, DiffOfAnotherThanTheLastIsRefused) {
  Fill(1, 1);
  const MemoryMap old = Save(false, std::nullopt).value();
  Fill(2, 1);
  ASSERT_TRUE(Save(false, std::nullopt).has_value());

  const auto diff = Save(false, old.files().back().id);

  ASSERT_FALSE(diff.has_value());
  EXPECT_THAT(diff.error().what, HasSubstr("take a full one"));
}

TEST_F(MemorySaverTest, PassingSnapshotComesBetweenNoDiffAndItsParent) {
  for (uint64_t page = 0; page < 100; ++page) Fill(page, 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  Fill(5, 9);
  const MemoryMap passing = Save(true, std::nullopt, /*passing=*/true).value();
  EXPECT_EQ(Restored(passing, {1}), Content());
  Fill(6, 9);

  const MemoryMap diff = Save(false, full.files().back().id).value();

  EXPECT_EQ(saver_.report().written_bytes, 2 * kPageBytes);
  EXPECT_EQ(Restored(diff, {0, 2}), Content());
}

TEST_F(MemorySaverTest, PassingSnapshotAloneLeavesNoTracking) {
  Fill(5, 9);
  const MemoryMap passing = Save(true, std::nullopt, /*passing=*/true).value();

  EXPECT_EQ(Restored(passing, {0}), Content());
  EXPECT_FALSE(dirty_.tracking());
  EXPECT_FALSE(Save(false, passing.files().back().id).has_value());
}

// A machine that goes on from `snapshot`, whose files are `files`: what it writes to is nobody else's.
class RestoredMachine {
 public:
  RestoredMachine(const MemoryMap& snapshot, std::span<const MemoryFile> files, bool mapped = true)
      : saver_(&dirty_, &touched_, MemoryOrigin{.map = snapshot, .mapped = mapped}) {
    EXPECT_TRUE(MapMemory(snapshot, files, memory_.regions()).has_value());
  }
  void Write(uint64_t page, uint64_t value) {
    ASSERT_TRUE(memory_.Write(GuestAddress{page * kPageBytes}, value).has_value());
  }
  std::vector<std::byte> content() const {
    const std::span<const std::byte> bytes = memory_.regions()[0].host;
    return {bytes.begin(), bytes.end()};
  }
  MemorySaver& saver() { return saver_; }
  const DirtyPages& dirty() const { return dirty_; }

 private:
  GuestMemory memory_ = GuestMemory::Create(kPages * kPageBytes).value();
  DirtyPages dirty_{&memory_, {memory_.regions()[0]}, std::make_unique<NoLog>(), [](OwnWrites&) {}};
  const TouchedPages touched_ = TouchedPages::Open().value();
  MemorySaver saver_;
};

class MemorySaverRestoredTest : public MemorySaverTest, public testing::WithParamInterface<bool> {
 protected:
  static bool Live() { return GetParam(); }
  std::vector<MemoryFile> Files(std::vector<size_t> indexes) const {
    std::vector<MemoryFile> files;
    for (const size_t index : indexes) files.push_back({"memory", files_[index].get()});
    return files;
  }
  Result<MemoryMap> SaveOf(RestoredMachine& machine, std::optional<MemoryFileId> diff_of,
                           bool passing = false) {
    return SaveBy(machine.saver(), Live(), diff_of, passing);
  }
};

TEST_P(MemorySaverRestoredTest, DiffsOfTheOriginHaveWhatWasWrittenSinceTheRestore) {
  for (uint64_t page = 0; page < 1000; ++page) Fill(page, static_cast<uint32_t>(page) + 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  RestoredMachine machine(full, Files({0}));
  machine.Write(7, 77);
  machine.Write(3000, 78);  // zero in the origin
  EXPECT_FALSE(machine.dirty().tracking());

  const MemoryMap first = SaveOf(machine, full.files().back().id).value();
  const uint64_t first_bytes = machine.saver().report().written_bytes;
  machine.Write(8, 88);
  const MemoryMap second = SaveOf(machine, first.files().back().id).value();

  EXPECT_EQ(first_bytes, 2 * kPageBytes);
  EXPECT_EQ(machine.saver().report().written_bytes, kPageBytes);
  EXPECT_EQ(Restored(second, {0, 1, 2}), machine.content());
  EXPECT_FALSE(SaveOf(machine, full.files().back().id).has_value()) << "it is not the last any more";
}

// The diff that is restored is what the next one is of, short runs that were read in place of a mapping
// included.
TEST_P(MemorySaverRestoredTest, AChainGoesOnFromRestoreToRestore) {
  for (uint64_t page = 0; page < 100; ++page) Fill(page, 1);
  MemoryMap last = Save(false, std::nullopt).value();
  std::vector<size_t> chain = {0};
  for (uint64_t link = 1; link < 4; ++link) {
    RestoredMachine machine(last, Files(chain));
    for (const uint64_t page : {10 * link, 10 * link + 2, 2000 + link}) machine.Write(page, link);

    last = SaveOf(machine, last.files().back().id).value();

    chain.push_back(link);
    EXPECT_EQ(last.files().size(), link + 1);
    EXPECT_EQ(Restored(last, chain), machine.content());
  }
}

TEST_P(MemorySaverRestoredTest, PassingAndFailedSnapshotsLeaveTheOriginTheLast) {
  for (uint64_t page = 0; page < 100; ++page) Fill(page, 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  RestoredMachine machine(full, Files({0}));
  machine.Write(5, 9);
  ASSERT_TRUE(SaveOf(machine, std::nullopt, /*passing=*/true).has_value());
  EXPECT_FALSE(machine.dirty().tracking());
  machine.Write(6, 9);
  const UniqueFd read_only(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(
      machine.saver()
          .BeforePause({.file = read_only.get(), .name = "memory", .diff_of = full.files().back().id})
          .has_value());
  machine.Write(7, 9);

  const MemoryMap diff = SaveOf(machine, full.files().back().id).value();

  EXPECT_EQ(machine.saver().report().written_bytes, 3 * kPageBytes);
  EXPECT_EQ(Restored(diff, {0, 2}), machine.content());
}

TEST_P(MemorySaverRestoredTest, WhatIsNotMappedBeginsWithAFullOne) {
  Fill(1, 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  RestoredMachine machine(full, Files({0}), /*mapped=*/false);

  EXPECT_FALSE(SaveOf(machine, full.files().back().id).has_value());
}

INSTANTIATE_TEST_SUITE_P(Guests, MemorySaverRestoredTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Live" : "Held"; });

TEST_F(MemorySaverTest, FailedSnapshotForgetsNoChange) {
  for (uint64_t page = 0; page < 100; ++page) Fill(page, 1);
  const MemoryMap full = Save(false, std::nullopt).value();
  const MemoryFileId parent = full.files().back().id;
  Fill(5, 9);
  // Sized when it begins, and then no more to be written to: what a full disk is.
  UniqueFd sealed(::memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_TRUE(
      saver_.BeforePause({.file = sealed.get(), .name = "full/memory", .live = false, .diff_of = parent})
          .has_value());
  ASSERT_EQ(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  const auto failed = saver_.WhilePaused();
  Fill(6, 9);

  const MemoryMap diff = Save(false, parent).value();

  ASSERT_FALSE(failed.has_value());
  EXPECT_THAT(failed.error().what, HasSubstr("full/memory"));
  EXPECT_EQ(Restored(diff, {0, 1}), Content());
}

// A guest that can be paused, writing to `pages` pages as fast as it can: by a system call, as memory that is
// written to while it is copied is nothing that thread sanitizers may see.
class Writer {
 public:
  Writer(const GuestMemory* memory, uint64_t pages) : memory_(memory), pages_(pages) {}
  ~Writer() {
    end_ = true;
    thread_.join();
  }
  std::unique_lock<std::mutex> Pause() { return std::unique_lock(mutex_); }

 private:
  void Run() {
    for (uint64_t round = 1; !end_; ++round) {
      std::lock_guard lock(mutex_);
      for (int i = 0; i < 64; ++i) Write(random_() % pages_ * kPageBytes + random_() % 500 * 8, round);
    }
  }
  void Write(uint64_t offset, uint64_t value) {
    std::byte* const place = memory_->regions()[0].host.data() + offset;
    const iovec from = {&value, sizeof(value)};
    const iovec to = {place, sizeof(value)};
    ASSERT_EQ(::syscall(SYS_process_vm_writev, ::getpid(), &from, 1, &to, 1, 0),
              static_cast<long>(sizeof(value)));
    memory_->MarkWritten(place, sizeof(value));
  }

  const GuestMemory* memory_;
  uint64_t pages_;
  std::minstd_rand random_;
  std::mutex mutex_;
  std::atomic<bool> end_ = false;
  std::thread thread_{[this] { Run(); }};
};

struct LiveCase {
  uint64_t busy_pages;
  const char* name;
};
class MemorySaverLiveTest : public MemorySaverTest, public testing::WithParamInterface<LiveCase> {};

// Three times, full and then diffs: each is the memory at its pause, whatever the guest did before and after.
TEST_P(MemorySaverLiveTest, SnapshotIsTheMemoryAtThePause) {
  for (uint64_t page = 0; page < 3000; ++page) Fill(page, static_cast<uint32_t>(page) + 1);
  Writer writer(&memory_, GetParam().busy_pages);
  std::optional<MemoryFileId> parent;
  std::vector<size_t> chain;

  for (int i = 0; i < 3; ++i) {
    files_.emplace_back(::memfd_create("memory", MFD_CLOEXEC));
    chain.push_back(files_.size() - 1);
    const auto before =
        saver_.BeforePause({.file = files_.back().get(), .name = "memory", .live = true, .diff_of = parent});
    ASSERT_TRUE(before.has_value()) << before.error().Message();
    std::vector<std::byte> content;
    {
      const auto paused = writer.Pause();
      content = Content();
      ASSERT_TRUE(saver_.WhilePaused().has_value());
    }
    const MemoryMap map = saver_.AfterPause().value();
    EXPECT_EQ(Restored(map, chain), content);
    EXPECT_THAT(saver_.report().paused_pages, Lt(GetParam().busy_pages + 1));
    parent = map.files().back().id;
  }
}

INSTANTIATE_TEST_SUITE_P(Guests, MemorySaverLiveTest,
                         testing::Values(LiveCase{100, "Quiet"}, LiveCase{4096, "BusyEverywhere"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hmvm
