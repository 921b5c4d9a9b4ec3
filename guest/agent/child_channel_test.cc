#include "guest/agent/child_channel.h"

#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

TEST(ChildChannelTest, ErrorKeepsCodeAndText) {
  auto channel = std::move(*MakeChildChannel());

  SendError(channel.second.get(), Error{ENOENT, "exec: \"x\""});
  const auto message = ReceiveFromChild(channel.first.get());

  ASSERT_TRUE(message.has_value() && message->has_value() && (*message)->error.has_value());
  EXPECT_EQ((*message)->error->code, ENOENT);
  EXPECT_EQ((*message)->error->what, "exec: \"x\"");
}

TEST(ChildChannelTest, LongErrorIsCut) {
  auto channel = std::move(*MakeChildChannel());

  SendError(channel.second.get(), Error{EINVAL, std::string(100000, 'x')});
  const auto message = ReceiveFromChild(channel.first.get());

  ASSERT_TRUE(message.has_value() && message->has_value() && (*message)->error.has_value());
  EXPECT_EQ((*message)->error->code, EINVAL);
}

TEST(ChildChannelTest, DescriptorPassesAndTheEndIsSeen) {
  auto channel = std::move(*MakeChildChannel());
  auto pipe = std::move(*MakePipe());

  ASSERT_TRUE(SendDescriptor(channel.second.get(), pipe.write.get()).has_value());
  channel.second.reset();
  const auto message = ReceiveFromChild(channel.first.get());
  const auto end = ReceiveFromChild(channel.first.get());

  ASSERT_TRUE(message.has_value() && message->has_value());
  ASSERT_TRUE((*message)->descriptor.valid());
  EXPECT_TRUE(WriteAll((*message)->descriptor.get(), "through").has_value());
  ASSERT_TRUE(end.has_value());
  EXPECT_FALSE(end->has_value());
}

}  // namespace
}  // namespace hmvm::agent
