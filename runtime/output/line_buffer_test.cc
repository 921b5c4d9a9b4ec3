#include "runtime/output/line_buffer.h"

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

class LineBufferTest : public testing::Test {
 protected:
  // Writes and reads it.
  void Come(std::string_view bytes) {
    ASSERT_TRUE(WriteAll(pipe_.write.get(), bytes).has_value());
    ASSERT_TRUE(lines_.Read(pipe_.read, "pipe").value());
  }

  Pipe pipe_ = *MakePipe();
  LineBuffer lines_;
};

TEST_F(LineBufferTest, LinesComeOnceTheyAreWhole) {
  Come("one\n\ntw");

  EXPECT_EQ(lines_.Next(), "one");
  EXPECT_EQ(lines_.Next(), "");
  EXPECT_EQ(lines_.Next(), std::nullopt);
  Come("o");
  EXPECT_EQ(lines_.Next(), std::nullopt);
  Come("\nthree\n");
  EXPECT_EQ(lines_.Next(), "two");
  EXPECT_EQ(lines_.Next(), "three");
  EXPECT_EQ(lines_.Next(), std::nullopt);
}

TEST_F(LineBufferTest, WhatWasReadIsForgotten) {
  Come("used\nwhole\nhal");
  EXPECT_EQ(lines_.Next(), "used");

  lines_.Clear();
  Come("f\n");

  EXPECT_EQ(lines_.Next(), "f");
}

TEST_F(LineBufferTest, EndIsTold) {
  pipe_.write.reset();

  EXPECT_FALSE(lines_.Read(pipe_.read, "pipe").value());
}

TEST_F(LineBufferTest, ErrorNamesTheFile) {
  const auto read = lines_.Read(UniqueFd(), "'events.jsonl'");

  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, EBADF);
  EXPECT_EQ(read.error().what, "read 'events.jsonl'");
}

}  // namespace
}  // namespace hmvm
