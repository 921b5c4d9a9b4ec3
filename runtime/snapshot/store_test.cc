#include "runtime/snapshot/store.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

class SnapshotStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "snapshots.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    store_ = std::make_unique<SnapshotStore>(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static SnapshotContainer Container() {
    ContainerConfig config;
    config.image = "busybox";
    return {.origin = NewContainerRecord(NewContainerId(), "web", config),
            .guest_id = "inside",
            .stdin_stream = 0,
            .stdout_stream = UINT64_MAX,
            .stderr_stream = 7};
  }
  static void Fill(const SnapshotStore::Draft& draft) {
    for (const char* file : {"/machine.pb", "/memory"}) {
      ASSERT_TRUE(WriteFileAtomic(draft.folder() + file, "content").has_value());
    }
    ASSERT_TRUE(WriteFileAtomic(draft.folder() + "/container.json", EncodeSnapshotContainer(Container()))
                    .has_value());
  }

  std::string folder_;
  std::unique_ptr<SnapshotStore> store_;
};

TEST_F(SnapshotStoreTest, CommittedSnapshotIsFoundByItsName) {
  auto draft = store_->Begin().value();
  Fill(draft);
  ASSERT_TRUE(draft.Commit("before").has_value());

  const auto files = store_->Open("before");
  const auto infos = store_->List().value();

  ASSERT_TRUE(files.has_value()) << files.error().Message();
  EXPECT_EQ(files->container.guest_id, "inside");
  EXPECT_EQ(files->container.stdout_stream, UINT64_MAX);
  EXPECT_EQ(files->container.origin.name, "web");
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].image, "busybox");
  EXPECT_EQ(infos[0].problem, "");
  EXPECT_TRUE(store_->Remove("before").has_value());
  EXPECT_EQ(store_->Open("before").error().code, ENOENT);
}

TEST_F(SnapshotStoreTest, WhatAFileSaysOfItsMonitorsPolicyDoesNotCount) {
  SnapshotContainer foreign = Container();
  foreign.origin.config.seccomp = "off";
  foreign.origin.config.security_profile = "/mine.yaml";
  foreign.origin.config.profile = "version: 1\nvmm:\n  syscalls: [sendmsg]\n";
  auto draft = store_->Begin().value();
  Fill(draft);
  ASSERT_TRUE(
      WriteFileAtomic(draft.folder() + "/container.json", EncodeSnapshotContainer(foreign)).has_value());

  ASSERT_TRUE(draft.TakeNoMonitorPolicy().has_value());

  EXPECT_EQ(draft.Open()->container.origin.config, Container().origin.config);
}

// Every place: refused, or a change of white space.
TEST_F(SnapshotStoreTest, DamagedContainerIsRefusedOrTheSame) {
  const std::string good = EncodeSnapshotContainer(Container());
  for (size_t place = 0; place < good.size(); ++place) {
    std::string damaged = good;
    damaged[place] ^= 1 << place % 8;
    const auto decoded = DecodeSnapshotContainer(damaged);
    if (decoded.has_value()) {
      EXPECT_EQ(EncodeSnapshotContainer(*decoded), good) << place;
    }
  }
}

TEST_F(SnapshotStoreTest, DiffOutlivesTheSnapshotsThatItBuildsOn) {
  const auto create = [&](const std::string& name, const std::string& parent) {
    const auto draft = store_->Begin().value();
    if (!parent.empty()) {
      ASSERT_TRUE(draft.BuildUpon(parent).has_value());
    }
    Fill(draft);
    ASSERT_TRUE(draft.Commit(name).has_value());
  };
  create("full", "");
  create("first", "full");
  create("second", "first");
  const auto before = store_->Find("second").value().parents;

  ASSERT_TRUE(store_->Remove("full").has_value());

  EXPECT_EQ(before, (std::vector<std::string>{"full", "first"}));
  EXPECT_EQ(store_->Find("second").value().parents, (std::vector<std::string>{"", "first"}));
  EXPECT_EQ(store_->Open("second").value().memory.size(), 3u);
  EXPECT_EQ(store_->Begin().value().BuildUpon("full").error().code, ENOENT);
}

TEST_F(SnapshotStoreTest, ChainHasAnEnd) {
  std::string parent;
  for (size_t i = 0; i < kMaxSnapshotChain; ++i) {
    const auto draft = store_->Begin().value();
    if (i > 0) {
      ASSERT_TRUE(draft.BuildUpon(parent).has_value());
    }
    Fill(draft);
    parent = "s" + std::to_string(i);
    ASSERT_TRUE(draft.Commit(parent).has_value());
  }
  EXPECT_EQ(store_->Begin().value().BuildUpon(parent).error().code, EMFILE);
}

TEST_F(SnapshotStoreTest, NameIsTakenOnce) {
  auto draft = store_->Begin().value();
  auto other = store_->Begin().value();
  Fill(draft);
  Fill(other);

  EXPECT_TRUE(draft.Commit("one").has_value());
  EXPECT_EQ(other.Commit("one").error().code, EEXIST);
  EXPECT_EQ(store_->List().value().size(), 1u);
}

TEST_F(SnapshotStoreTest, UncommittedAndAbandonedDraftsGo) {
  std::filesystem::create_directories(folder_ + "/.draft-killed");
  {
    const auto draft = store_->Begin().value();
    const auto other = store_->Begin().value();
    EXPECT_TRUE(std::filesystem::exists(draft.folder()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  std::filesystem::create_directories(folder_ + "/.draft-killed");
  EXPECT_TRUE(store_->List().value().empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SnapshotStoreTest, IncompleteSnapshotIsListedWithItsProblem) {
  auto draft = store_->Begin().value();
  Fill(draft);
  ASSERT_TRUE(draft.Commit("torn").has_value());
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/torn/container.json", "{}").has_value());

  EXPECT_NE(store_->List().value().at(0).problem, "");
  EXPECT_FALSE(store_->Open("torn").has_value());
  EXPECT_EQ(store_->Open("../torn").error().code, ENOENT);
}

}  // namespace
}  // namespace hmvm
