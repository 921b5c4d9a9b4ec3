#include "vmm/virtio/console.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

class ConsoleTest : public ::testing::Test {
 protected:
  void Open(UniqueFd output, UniqueFd input) {
    device_ = *Console::Create({.output = std::move(output), .input = std::move(input)}, *loop_);
    ASSERT_TRUE(machine_.Activate(*device_, kCommonFeatures).has_value());
  }

  void Print(std::string_view text) {
    const FakeQueue::Buffer buffer{machine_.Place(text), static_cast<uint32_t>(text.size()), false};
    machine_.queues[Console::kTransmitQueue].Add(std::span(&buffer, 1));
    device_->OnQueueNotify(Console::kTransmitQueue);
    ASSERT_TRUE(machine_.queues[Console::kTransmitQueue].TakeUsed().has_value());
  }

  // Lets the loop handle the events that are there.
  void RunLoop() {
    loop_->Post([this] { loop_->Post([this] { loop_->Stop(); }); });
    ASSERT_TRUE(loop_->Run().has_value());
  }

  uint64_t Counter(std::string_view name) {
    for (const auto& [counter, value] : device_->Counters()) {
      if (counter == name) return value;
    }
    return UINT64_MAX;
  }

  static std::string ReadAvailable(int fd) {
    std::string text(1 << 20, '\0');
    const ssize_t got = ::read(fd, text.data(), text.size());
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }

  FakeMachine machine_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::unique_ptr<VirtioDevice> device_;
};

TEST_F(ConsoleTest, OutputReachesThePipe) {
  Pipe pipe = *MakePipe();
  Open(std::move(pipe.write), UniqueFd());

  Print("hello ");
  Print("world");

  EXPECT_EQ(ReadAvailable(pipe.read.get()), "hello world");
}

TEST_F(ConsoleTest, OutputReachesAFile) {
  std::string path = ::testing::TempDir() + "hmvm-console-XXXXXX";
  UniqueFd file(::mkstemp(path.data()));
  ::unlink(path.c_str());
  const UniqueFd copy = *Duplicate(file.get());
  Open(std::move(file), UniqueFd());

  Print(std::string(20000, 'x'));

  EXPECT_EQ(::lseek(copy.get(), 0, SEEK_END), 20000);
}

TEST_F(ConsoleTest, StoppedReaderDoesNotStopTheGuest) {
  Pipe pipe = *MakePipe();
  Open(std::move(pipe.write), UniqueFd());

  for (int i = 0; i < 40; ++i) Print(std::string(10000, static_cast<char>('a' + i % 26)));

  const uint64_t kept = Counter("output_bytes") + Console::kBufferBytes;
  EXPECT_EQ(Counter("dropped_bytes"), 400000 - kept);
  // What was kept arrives when the reader goes on.
  std::string heard;
  while (heard.size() < kept) {
    heard += ReadAvailable(pipe.read.get());
    RunLoop();
  }
  EXPECT_EQ(heard.size(), kept);
  EXPECT_EQ(heard.substr(0, 10000), std::string(10000, 'a'));
}

TEST_F(ConsoleTest, ReaderThatHasGoneIsNoConcernOfTheGuest) {
  ::signal(SIGPIPE, SIG_IGN);  // as hmvm-vmm does
  Pipe pipe = *MakePipe();
  Open(std::move(pipe.write), UniqueFd());
  pipe.read.reset();

  Print("hello");

  EXPECT_EQ(Counter("dropped_bytes"), 5u);
}

TEST_F(ConsoleTest, WithoutAnOutputAllIsDropped) {
  Open(UniqueFd(), UniqueFd());

  Print("hello");

  EXPECT_EQ(Counter("dropped_bytes"), 5u);
}

TEST_F(ConsoleTest, InputReachesTheGuest) {
  Pipe pipe = *MakePipe();
  Open(UniqueFd(), std::move(pipe.read));
  const FakeQueue::Buffer buffer{machine_.heap.Allocate(64), 64, true};
  machine_.queues[Console::kReceiveQueue].Add(std::span(&buffer, 1));
  ASSERT_TRUE(WriteAll(pipe.write.get(), "typed").has_value());

  RunLoop();

  EXPECT_EQ(machine_.queues[Console::kReceiveQueue].TakeUsed()->len, 5u);
  EXPECT_EQ(machine_.Text(buffer.address, 5), "typed");
}

TEST_F(ConsoleTest, InputWaitsForABuffer) {
  Pipe pipe = *MakePipe();
  Open(UniqueFd(), std::move(pipe.read));
  ASSERT_TRUE(WriteAll(pipe.write.get(), "typed").has_value());
  RunLoop();
  const FakeQueue::Buffer buffer{machine_.heap.Allocate(64), 64, true};
  machine_.queues[Console::kReceiveQueue].Add(std::span(&buffer, 1));

  device_->OnQueueNotify(Console::kReceiveQueue);

  EXPECT_EQ(machine_.Text(buffer.address, 5), "typed");
}

TEST_F(ConsoleTest, EndOfInputLeavesTheGuestWaiting) {
  Pipe pipe = *MakePipe();
  Open(UniqueFd(), std::move(pipe.read));
  const FakeQueue::Buffer buffer{machine_.heap.Allocate(64), 64, true};
  machine_.queues[Console::kReceiveQueue].Add(std::span(&buffer, 1));
  pipe.write.reset();

  RunLoop();

  EXPECT_FALSE(machine_.queues[Console::kReceiveQueue].TakeUsed().has_value());
}

TEST_F(ConsoleTest, ReceiveBufferThatIsReadOnlyNeedsAReset) {
  Pipe pipe = *MakePipe();
  Open(UniqueFd(), std::move(pipe.read));
  const FakeQueue::Buffer buffer{machine_.heap.Allocate(64), 64, false};
  machine_.queues[Console::kReceiveQueue].Add(std::span(&buffer, 1));
  ASSERT_TRUE(WriteAll(pipe.write.get(), "typed").has_value());

  RunLoop();

  EXPECT_EQ(machine_.interrupt.needs_reset.size(), 1u);
}

TEST_F(ConsoleTest, DisabledQueuesHaveNothingToDo) {
  Pipe pipe = *MakePipe();
  Open(UniqueFd(), std::move(pipe.read));
  machine_.ActivateDisabled(*device_);
  ASSERT_TRUE(WriteAll(pipe.write.get(), "typed").has_value());
  RunLoop();

  EXPECT_FALSE(device_->OnQueueNotify(Console::kTransmitQueue));
  EXPECT_FALSE(device_->OnQueueNotify(Console::kReceiveQueue));
}

}  // namespace
}  // namespace hmvm
