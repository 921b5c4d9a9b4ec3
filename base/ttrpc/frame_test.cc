#include "base/ttrpc/frame.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using std::string_literals::operator""s;

TEST(TtrpcFrameTest, HeaderIsBigEndian) {
  const std::string bytes = EncodeTtrpcFrame(0x01020305, kTtrpcRequest, "abc");

  EXPECT_EQ(bytes, "\x00\x00\x00\x03\x01\x02\x03\x05\x01\x00"s + "abc");
}

TEST(TtrpcFrameTest, FramesCutIntoSingleBytesComeOutWhole) {
  const std::string bytes =
      EncodeTtrpcFrame(1, kTtrpcRequest, "first") + EncodeTtrpcFrame(3, kTtrpcResponse, "");
  TtrpcFrameParser parser;
  std::vector<TtrpcFrame> frames;

  for (const char byte : bytes) {
    parser.Append(std::string_view(&byte, 1));
    while (auto frame = parser.Next()) frames.push_back(*frame);
  }

  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].stream_id, 1u);
  EXPECT_EQ(frames[0].type, kTtrpcRequest);
  EXPECT_EQ(frames[0].data, "first");
  EXPECT_EQ(frames[1].stream_id, 3u);
  EXPECT_EQ(frames[1].type, kTtrpcResponse);
  EXPECT_EQ(frames[1].data, "");
}

TEST(TtrpcFrameTest, LargestFrameIsTaken) {
  TtrpcFrameParser parser;

  parser.Append(EncodeTtrpcFrame(1, kTtrpcRequest, std::string(kTtrpcMaxDataBytes, 'x')));
  const auto frame = parser.Next();

  ASSERT_TRUE(frame.has_value());
  EXPECT_FALSE(frame->oversized);
  EXPECT_EQ(frame->data.size(), kTtrpcMaxDataBytes);
}

TEST(TtrpcFrameTest, OversizedFrameIsReportedAndItsDataSkipped) {
  TtrpcFrameParser parser;

  parser.Append("\x00\x40\x00\x01\x00\x00\x00\x07\x01\x00"s + "begin");
  const auto oversized = parser.Next();
  const auto nothing = parser.Next();
  parser.Append(std::string(kTtrpcMaxDataBytes + 1 - 5, 'x') + EncodeTtrpcFrame(9, kTtrpcRequest, "next"));
  const auto next = parser.Next();

  ASSERT_TRUE(oversized.has_value());
  EXPECT_TRUE(oversized->oversized);
  EXPECT_EQ(oversized->stream_id, 7u);
  EXPECT_FALSE(nothing.has_value());
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->stream_id, 9u);
  EXPECT_EQ(next->data, "next");
}

}  // namespace
}  // namespace hmvm
