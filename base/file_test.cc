#include "base/file.h"

#include <stdlib.h>

#include <filesystem>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() {
    char name[] = "/tmp/hmvm-file-test.XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

TEST_F(FileTest, MissingFileIsNamedInTheError) {
  const auto fd = OpenFile(directory_ + "/absent", O_RDONLY);

  ASSERT_FALSE(fd.has_value());
  EXPECT_EQ(fd.error().code, ENOENT);
  EXPECT_EQ(fd.error().Message(), "open '" + directory_ + "/absent': No such file or directory");
}

TEST_F(FileTest, AtomicWriteReplacesTheContentAndLeavesNothingElse) {
  const std::string path = directory_ + "/state";
  ASSERT_TRUE(WriteFileAtomic(path, "old").has_value());

  ASSERT_TRUE(WriteFileAtomic(path, "new", 0600).has_value());

  EXPECT_EQ(ReadFile(path).value(), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(FileTest, AtomicWriteIntoAMissingDirectoryIsRefused) {
  EXPECT_FALSE(WriteFileAtomic(directory_ + "/no/such", "x").has_value());
}

TEST_F(FileTest, FileAboveTheLimitIsRefused) {
  const std::string path = directory_ + "/large";
  ASSERT_TRUE(WriteFileAtomic(path, std::string(100000, 'x')).has_value());

  const auto content = ReadFile(path, 1000);

  ASSERT_FALSE(content.has_value());
  EXPECT_EQ(content.error().code, EFBIG);
}

TEST(OpenArgumentTest, InheritedDescriptorIsTakenOver) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe.has_value());
  const int number = pipe->read.release();

  const auto fd = OpenArgument("fd:" + std::to_string(number), O_RDONLY);

  ASSERT_TRUE(fd.has_value());
  EXPECT_EQ(fd->get(), number);
}

TEST(OpenArgumentTest, MalformedDescriptorIsRefused) {
  EXPECT_EQ(OpenArgument("fd:3x", O_RDONLY).error().code, EINVAL);
  EXPECT_EQ(OpenArgument("fd:-1", O_RDONLY).error().code, EINVAL);
  EXPECT_EQ(OpenArgument("fd:999999", O_RDONLY).error().code, EBADF);
}

}  // namespace
}  // namespace hmvm
