#include "runtime/template/store.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

class TemplateStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "templates.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    for (const char* file : {"vmm", "kernel", "initramfs"}) {
      ASSERT_TRUE(WriteFileAtomic(folder_ + "/" + file, "content").has_value());
    }
    store_ = std::make_unique<TemplateStore>(folder_ + "/templates");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  TemplateKey Key(uint32_t memory_mib) const {
    return MakeTemplateKey({.vmm_program = folder_ + "/vmm",
                            .kernel = folder_ + "/kernel",
                            .initramfs = folder_ + "/initramfs",
                            .platform = "auto",
                            .cpus = 1,
                            .memory_mib = memory_mib})
        .value();
  }
  void Build(const TemplateKey& key, const std::string& memory = "memory") {
    auto draft = store_->Begin(key).value();
    ASSERT_TRUE(WriteAll(draft.memory().get(), memory).has_value());
    ASSERT_TRUE(draft.Commit().has_value());
  }

  std::string folder_;
  std::unique_ptr<TemplateStore> store_;
};

TEST_F(TemplateStoreTest, CommittedDraftIsFoundByItsKey) {
  Build(Key(128), "pages");

  const auto files = store_->Open(Key(128)).value();

  ASSERT_TRUE(files.has_value());
  std::string text(5, '\0');
  EXPECT_EQ(ReadFull(files->memory.get(), std::as_writable_bytes(std::span(text))).value_or(0), 5u);
  EXPECT_EQ(text, "pages");
  EXPECT_FALSE(store_->Open(Key(256)).value().has_value());
}

TEST_F(TemplateStoreTest, DraftThatIsNotCommittedLeavesNothing) {
  { const auto draft = store_->Begin(Key(128)).value(); }

  EXPECT_FALSE(store_->Open(Key(128)).value().has_value());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/templates"));
}

TEST_F(TemplateStoreTest, OneBuildsAtATime) {
  const auto draft = store_->Begin(Key(128)).value();

  const auto other = store_->Begin(Key(256));

  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, EAGAIN);
}

// Cgroups, and what the guard knows by them, are the host's: below each root the same template may be built.
TEST_F(TemplateStoreTest, MachinesOfTheSameTemplateInTwoStoresHaveNoNameInCommon) {
  const TemplateStore others(folder_ + "/others");
  const auto draft = store_->Begin(Key(128)).value();
  const auto other = others.Begin(Key(128)).value();

  EXPECT_NE(draft.CellName(), other.CellName());
}

TEST_F(TemplateStoreTest, WhatAKilledBuilderLeftIsNoObstacle) {
  std::filesystem::create_directories(folder_ + "/templates/.draft-0123/memory");

  Build(Key(128));

  EXPECT_TRUE(store_->Open(Key(128)).value().has_value());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/templates/.draft-0123"));
}

TEST_F(TemplateStoreTest, SweepTakesWhatAKilledBuilderLeft) {
  Build(Key(128));
  std::filesystem::create_directories(folder_ + "/templates/.draft-0123/memory");

  store_->Sweep();

  EXPECT_FALSE(std::filesystem::exists(folder_ + "/templates/.draft-0123"));
  EXPECT_TRUE(store_->Open(Key(128)).value().has_value());
}

TEST_F(TemplateStoreTest, SweepLeavesALivingBuilderAlone) {
  auto draft = store_->Begin(Key(128)).value();

  store_->Sweep();

  EXPECT_TRUE(draft.Commit().has_value());
  EXPECT_TRUE(store_->Open(Key(128)).value().has_value());
}

TEST_F(TemplateStoreTest, StaleTemplatesAreToldAndGoWithTheNextBuild) {
  const std::string stale = Key(128).id;
  Build(Key(128));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/kernel", "another").has_value());
  const auto before = store_->List().value();

  Build(Key(256));
  const auto after = store_->List().value();

  ASSERT_EQ(before.size(), 1u);
  EXPECT_TRUE(before[0].stale);
  EXPECT_EQ(before[0].id, stale);
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].machine.memory_mib, 256u);
  EXPECT_FALSE(after[0].stale);
}

TEST_F(TemplateStoreTest, TheLongestUnusedGoesForANewOne) {
  for (uint32_t i = 0; i < TemplateStore::kMaxTemplates; ++i) Build(Key(128 + i));
  ASSERT_TRUE(store_->Open(Key(128)).value().has_value());

  Build(Key(1000));

  EXPECT_EQ(store_->List().value().size(), TemplateStore::kMaxTemplates);
  EXPECT_TRUE(store_->Open(Key(128)).value().has_value());
  EXPECT_FALSE(store_->Open(Key(129)).value().has_value());
  EXPECT_TRUE(store_->Open(Key(1000)).value().has_value());
}

TEST_F(TemplateStoreTest, BrokenDescriptionIsStale) {
  Build(Key(128));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/templates/" + Key(128).id + "/template.json", "{]").has_value());

  const auto infos = store_->List().value();

  ASSERT_EQ(infos.size(), 1u);
  EXPECT_TRUE(infos[0].stale);
}

TEST_F(TemplateStoreTest, OneThatLacksAPartIsNoneUntilItIsBuiltAgain) {
  for (const char* part : {"/machine.pb", "/memory"}) {
    Build(Key(128));
    std::filesystem::remove(folder_ + "/templates/" + Key(128).id + part);

    const auto opened = store_->Open(Key(128));
    const auto infos = store_->List().value();
    Build(Key(128));

    ASSERT_TRUE(opened.has_value()) << opened.error().Message();
    EXPECT_FALSE(opened->has_value()) << part;
    ASSERT_EQ(infos.size(), 1u);
    EXPECT_TRUE(infos[0].stale) << part;
    EXPECT_TRUE(store_->Open(Key(128)).value().has_value()) << part;
  }
}

TEST_F(TemplateStoreTest, AFileInThePlaceOfATemplateIsNoObstacle) {
  Build(Key(256));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/templates/" + Key(128).id, "no folder").has_value());

  const auto opened = store_->Open(Key(128));
  Build(Key(128));

  ASSERT_TRUE(opened.has_value()) << opened.error().Message();
  EXPECT_FALSE(opened->has_value());
  EXPECT_TRUE(store_->Open(Key(128)).value().has_value());
}

TEST_F(TemplateStoreTest, MemoryIsKnownWholeUntilItIsWrittenTo) {
  Build(Key(128), "pages");
  const std::string id = Key(128).id;
  const UniqueFd memory = OpenFile(folder_ + "/templates/" + id + "/memory", O_RDONLY).value();
  const bool before = store_->IsKnownWhole(id, memory.get());

  store_->NoteWhole(id, memory.get());
  const bool noted = store_->IsKnownWhole(id, memory.get());
  const auto writer = OpenFile(folder_ + "/templates/" + id + "/memory", O_WRONLY | O_APPEND).value();
  ASSERT_TRUE(WriteAll(writer.get(), "!").has_value());
  const bool written = store_->IsKnownWhole(id, memory.get());
  Build(Key(128), "pages");
  const UniqueFd rebuilt = OpenFile(folder_ + "/templates/" + id + "/memory", O_RDONLY).value();

  EXPECT_FALSE(before);
  EXPECT_TRUE(noted);
  EXPECT_FALSE(written);
  EXPECT_FALSE(store_->IsKnownWhole(id, rebuilt.get()));
}

TEST_F(TemplateStoreTest, RemoveTakesIdsOnly) {
  Build(Key(128));

  EXPECT_EQ(store_->Remove("../templates").error().code, ENOENT);
  EXPECT_EQ(store_->Remove(std::string(32, '0')).error().code, ENOENT);
  EXPECT_TRUE(store_->Remove(Key(128).id).has_value());
  EXPECT_TRUE(store_->List().value().empty());
}

}  // namespace
}  // namespace hmvm
