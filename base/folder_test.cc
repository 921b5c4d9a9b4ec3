#include "base/folder.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

namespace fs = std::filesystem;

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hmvm_folder_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path dir_;
};

TEST_F(FolderTest, APrivateFolderAndThoseAboveItAreOursAloneAndWhatWasThereStays) {
  fs::create_directory(dir_ / "there");
  fs::permissions(dir_ / "there", fs::perms::all);

  ASSERT_TRUE(MakePrivateFolder(dir_ / "there/new/below/").has_value());
  ASSERT_TRUE(MakePrivateFolder(dir_ / "there").has_value());

  EXPECT_EQ(fs::status(dir_ / "there/new").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(dir_ / "there/new/below").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(dir_ / "there").permissions(), fs::perms::all);
}

TEST_F(FolderTest, AFileInItsPlaceIsNamed) {
  std::ofstream(dir_ / "file").close();

  for (const fs::path& path : {dir_ / "file/below", dir_ / "file"}) {
    const auto made = MakePrivateFolder(path);

    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ENOTDIR);
    EXPECT_EQ(made.error().what, "create folder '" + path.string() + "'");
  }
}

TEST_F(FolderTest, NamesAreInOrderAndAFolderThatIsGoneHasNone) {
  for (const char* name : {"b", "a", ".hidden"}) std::ofstream(dir_ / name).close();

  const auto names = NamesIn(dir_);
  const auto gone = NamesIn(dir_ / "gone");
  const auto file = NamesIn(dir_ / "a");

  EXPECT_EQ(names, (std::vector<std::string>{".hidden", "a", "b"}));
  EXPECT_EQ(gone, std::vector<std::string>{});
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().Message(), "read folder '" + (dir_ / "a").string() + "': Not a directory");
}

TEST_F(FolderTest, ATreeIsRemovedAndMayBeGone) {
  fs::create_directories(dir_ / "tree/below");
  std::ofstream(dir_ / "tree/below/file").close();

  EXPECT_TRUE(RemoveTree(dir_ / "tree").has_value());
  EXPECT_TRUE(RemoveTree(dir_ / "tree").has_value());

  EXPECT_FALSE(fs::exists(dir_ / "tree"));
}

}  // namespace
}  // namespace hmvm
