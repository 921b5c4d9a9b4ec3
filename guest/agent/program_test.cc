#include "guest/agent/program.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm::agent {
namespace {

class FindProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "program_test.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    std::filesystem::create_directory(directory_ + "/first");
    std::filesystem::create_directories(directory_ + "/second/tool");
    Make("first/plain", 0644);
    Make("second/plain", 0755);
    Make("second/only", 0755);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Make(const std::string& name, mode_t mode) {
    ASSERT_TRUE(OpenFile(directory_ + "/" + name, O_CREAT | O_WRONLY, mode).has_value());
  }
  std::string Path() const { return directory_ + "/first:" + directory_ + "/second"; }

  std::string directory_;
};

TEST_F(FindProgramTest, FirstExecutableInPathIsTaken) {
  EXPECT_EQ(FindProgram("plain", Path()).value_or(""), directory_ + "/second/plain");
}

TEST_F(FindProgramTest, NameWithSlashIsNotLookedUp) {
  EXPECT_EQ(FindProgram(directory_ + "/second/only", "").value_or(""), directory_ + "/second/only");
}

TEST_F(FindProgramTest, MissingProgramIsNamedAsDockerDoes) {
  const auto found = FindProgram("nosuch", Path());

  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().code, ENOENT);
  EXPECT_EQ(found.error().what, "exec: \"nosuch\": executable file not found in $PATH");
}

TEST_F(FindProgramTest, MissingFileIsNamedAsDockerDoes) {
  const auto found = FindProgram("/nosuch/program", Path());

  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().code, ENOENT);
  EXPECT_EQ(found.error().what, "exec: \"/nosuch/program\": stat /nosuch/program: no such file or directory");
}

TEST_F(FindProgramTest, FileWithoutPermissionAndDirectoryAreDenied) {
  const auto file = FindProgram(directory_ + "/first/plain", "");
  const auto directory = FindProgram(directory_ + "/second", "");

  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code, EACCES);
  EXPECT_EQ(file.error().what, "exec: \"" + directory_ + "/first/plain\": permission denied");
  ASSERT_FALSE(directory.has_value());
  EXPECT_EQ(directory.error().code, EACCES);
  EXPECT_EQ(directory.error().what, "exec: \"" + directory_ + "/second\": is a directory");
}

TEST_F(FindProgramTest, DirectoryInPathAndEmptyNameAreNotFound) {
  EXPECT_FALSE(FindProgram("tool", Path()).has_value());
  EXPECT_FALSE(FindProgram("", Path()).has_value());
}

}  // namespace
}  // namespace hmvm::agent
