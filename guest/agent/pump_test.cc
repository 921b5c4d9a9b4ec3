#include "guest/agent/pump.h"

#include <sys/socket.h>

#include <thread>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm::agent {
namespace {

// Bytes that show a loss, a repetition and a change of order.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  return bytes;
}

std::string ReadToEnd(int fd) {
  std::string all;
  std::vector<std::byte> chunk(1 << 16);
  for (;;) {
    const auto got = ReadFull(fd, chunk);
    if (!got.has_value() || *got == 0) return all;
    all.append(reinterpret_cast<const char*>(chunk.data()), *got);
  }
}

class PumpTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*EventLoop::Create());
    pump_ = std::make_unique<Pump>(*loop_, [this] { loop_->Stop(); });
    pipe_ = std::move(*MakePipe());
    sockets_ = std::move(*MakeSocketPair(SOCK_STREAM));
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Pump> pump_;
  Pipe pipe_;
  SocketPair sockets_;
};

TEST_F(PumpTest, EveryByteArrivesThenTheEnd) {
  const std::string sent = Pattern(20 << 20);
  pump_->SetSource(std::move(pipe_.read));
  pump_->SetSink(std::move(sockets_.first));
  std::string received;
  std::thread writer([&] {
    EXPECT_TRUE(WriteAll(pipe_.write.get(), sent).has_value());
    pipe_.write.reset();
  });
  std::thread reader([&] { received = ReadToEnd(sockets_.second.get()); });

  EXPECT_TRUE(loop_->Run().has_value());
  writer.join();
  reader.join();

  EXPECT_TRUE(pump_->done());
  EXPECT_EQ(received.size(), sent.size());
  EXPECT_TRUE(received == sent);
}

TEST_F(PumpTest, SocketToPipeEndsWithTheHalfClose) {
  pump_->SetSink(std::move(pipe_.write));
  pump_->SetSource(std::move(sockets_.first));

  ASSERT_TRUE(WriteAll(sockets_.second.get(), "input").has_value());
  ::shutdown(sockets_.second.get(), SHUT_WR);
  EXPECT_TRUE(loop_->Run().has_value());

  EXPECT_EQ(ReadToEnd(pipe_.read.get()), "input");
}

TEST_F(PumpTest, BrokenSinkEndsThePumpAndClosesTheSource) {
  ::signal(SIGPIPE, SIG_IGN);
  pump_->SetSource(std::move(pipe_.read));
  pump_->SetSink(std::move(sockets_.first));
  sockets_.second.reset();

  ASSERT_TRUE(WriteAll(pipe_.write.get(), "lost").has_value());
  EXPECT_TRUE(loop_->Run().has_value());
  const auto written = WriteAll(pipe_.write.get(), "nobody reads");

  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, EPIPE);
}

TEST_F(PumpTest, EndAfterBufferedDeliversWhatIsThereThoughThePipeStaysOpen) {
  const std::string sent = Pattern(60000);
  ASSERT_TRUE(WriteAll(pipe_.write.get(), sent).has_value());
  pump_->SetSource(std::move(pipe_.read));

  pump_->EndAfterBuffered();
  pump_->SetSink(std::move(sockets_.first));
  std::string received;
  std::thread reader([&] { received = ReadToEnd(sockets_.second.get()); });
  EXPECT_TRUE(loop_->Run().has_value());
  reader.join();

  EXPECT_TRUE(received == sent);
  EXPECT_TRUE(pipe_.write.valid());
}

TEST_F(PumpTest, HeldPumpMovesNothingUntilItIsReleased) {
  pump_->SetSource(std::move(pipe_.read));
  pump_->SetSink(std::move(sockets_.first));
  pump_->Hold();
  ASSERT_TRUE(WriteAll(pipe_.write.get(), "held").has_value());
  pipe_.write.reset();
  loop_->Post([this] { loop_->Stop(); });
  ASSERT_TRUE(loop_->Run().has_value());
  char byte = 0;
  EXPECT_EQ(::recv(sockets_.second.get(), &byte, 1, MSG_DONTWAIT), -1);

  pump_->Release();
  EXPECT_TRUE(loop_->Run().has_value());

  EXPECT_EQ(ReadToEnd(sockets_.second.get()), "held");
}

TEST_F(PumpTest, LostSinkIsReplacedWithoutLossOfBytes) {
  const std::string sent = Pattern(60000);
  SocketPair full = std::move(*MakeSocketPair(SOCK_STREAM));
  pump_->SetSource(std::move(pipe_.read));
  pump_->Hold();
  pump_->SetSink(std::move(full.first));
  pump_->LoseSink();
  ASSERT_TRUE(WriteAll(pipe_.write.get(), sent).has_value());
  pipe_.write.reset();

  pump_->Release();
  pump_->SetSink(std::move(sockets_.first));
  std::string received;
  std::thread reader([&] { received = ReadToEnd(sockets_.second.get()); });
  EXPECT_TRUE(loop_->Run().has_value());
  reader.join();

  EXPECT_TRUE(received == sent);
}

TEST_F(PumpTest, EndAfterBufferedOfAnEmptyPipeEndsAtOnce) {
  pump_->SetSource(std::move(pipe_.read));
  pump_->SetSink(std::move(sockets_.first));

  pump_->EndAfterBuffered();
  EXPECT_TRUE(loop_->Run().has_value());

  EXPECT_EQ(ReadToEnd(sockets_.second.get()), "");
}

TEST_F(PumpTest, EndAfterBufferedBeforeTheSinkOfAnEmptyPipeEndsWithTheSink) {
  pump_->SetSource(std::move(pipe_.read));
  pump_->EndAfterBuffered();

  pump_->SetSink(std::move(sockets_.first));
  EXPECT_TRUE(loop_->Run().has_value());

  EXPECT_EQ(ReadToEnd(sockets_.second.get()), "");
}

}  // namespace
}  // namespace hmvm::agent
