#include "base/fd_channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

TEST(FdChannelTest, DescriptorsArriveInOrderAndCloseOnExec) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);
  const Pipe pipe = *MakePipe();
  const int sent[] = {pipe.read.get(), pipe.write.get()};
  ASSERT_TRUE(SendFds(channel.first.get(), sent).has_value());

  const auto received = ReceiveFds(channel.second.get());

  ASSERT_TRUE(received.has_value()) << received.error().Message();
  ASSERT_EQ(received->size(), 2u);
  ASSERT_TRUE(WriteAll((*received)[1].get(), "x").has_value());
  char byte = 0;
  EXPECT_EQ(::read((*received)[0].get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_EQ(::fcntl((*received)[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST(FdChannelTest, MessagesStayApart) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);
  const int one[] = {0};
  const int two[] = {0, 1};
  ASSERT_TRUE(SendFds(channel.first.get(), one).has_value());
  ASSERT_TRUE(SendFds(channel.first.get(), two).has_value());

  EXPECT_EQ(ReceiveFds(channel.second.get())->size(), 1u);
  EXPECT_EQ(ReceiveFds(channel.second.get())->size(), 2u);
}

TEST(FdChannelTest, NothingThereIsAnErrorAtOnce) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);

  EXPECT_EQ(ReceiveFds(channel.second.get()).error().code, EAGAIN);
}

TEST(FdChannelTest, TheEndIsNoMessage) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);
  channel.first.reset();

  EXPECT_EQ(ReceiveFds(channel.second.get()).error().code, EPIPE);
}

TEST(FdChannelTest, AMessageOfWordsAloneIsRefused) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_EQ(::send(channel.first.get(), "hello", 5, 0), 5);

  EXPECT_EQ(ReceiveFds(channel.second.get()).error().code, EPROTO);
}

TEST(FdChannelTest, NoneAndTooManyAreNotSent) {
  SocketPair channel = *MakeSocketPair(SOCK_SEQPACKET);
  const std::vector<int> many(kMaxSentFds + 1, 0);

  EXPECT_EQ(SendFds(channel.first.get(), {}).error().code, EINVAL);
  EXPECT_EQ(SendFds(channel.first.get(), many).error().code, EINVAL);
}

}  // namespace
}  // namespace hmvm
