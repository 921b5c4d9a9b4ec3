#include "guest/agent/in_root.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm::agent {
namespace {

namespace fs = std::filesystem;

class EnsureInRootTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "in_root_test.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    fs::create_directories(directory_ / "root/etc");
    fs::create_directory(directory_ / "outside");
    root_ = std::move(*OpenFile(directory_ / "root", O_PATH | O_DIRECTORY));
  }
  void TearDown() override { fs::remove_all(directory_); }

  fs::path directory_;
  UniqueFd root_;
};

TEST_F(EnsureInRootTest, MissingPathIsMadeWithItsParents) {
  const auto directory = EnsureInRoot(root_.get(), "/a/b/c", FileKind::kDirectory);
  const auto file = EnsureInRoot(root_.get(), "/etc/hosts", FileKind::kFile);

  ASSERT_TRUE(directory.has_value()) << directory.error().Message();
  ASSERT_TRUE(file.has_value()) << file.error().Message();
  EXPECT_TRUE(fs::is_directory(directory_ / "root/a/b/c"));
  EXPECT_TRUE(fs::is_regular_file(directory_ / "root/etc/hosts"));
}

TEST_F(EnsureInRootTest, LinksDoNotLeadOutOfTheRoot) {
  fs::create_symlink("../../../../outside", directory_ / "root/up");
  fs::create_symlink(directory_ / "outside", directory_ / "root/absolute");
  fs::create_directory(directory_ / "root/outside");

  const auto up = EnsureInRoot(root_.get(), "/up/made", FileKind::kDirectory);
  const auto absolute = EnsureInRoot(root_.get(), "/absolute/made", FileKind::kDirectory);

  EXPECT_TRUE(up.has_value());
  EXPECT_TRUE(fs::exists(directory_ / "root/outside/made"));
  EXPECT_FALSE(absolute.has_value());
  EXPECT_TRUE(fs::is_empty(directory_ / "outside"));
}

TEST_F(EnsureInRootTest, FileInTheWayIsAnErrorWithItsName) {
  ASSERT_TRUE(EnsureInRoot(root_.get(), "/etc/file", FileKind::kFile).has_value());

  const auto below = EnsureInRoot(root_.get(), "/etc/file/below", FileKind::kDirectory);

  ASSERT_FALSE(below.has_value());
  EXPECT_EQ(below.error().code, ENOTDIR);
  EXPECT_EQ(below.error().what, "open '/etc/file/below' in the container");
}

}  // namespace
}  // namespace hmvm::agent
