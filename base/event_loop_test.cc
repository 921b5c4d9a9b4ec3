#include "base/event_loop.h"

#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

TEST(EventLoopTest, ReadableDescriptorCallsItsHandler) {
  auto loop = EventLoop::Create().value();
  Pipe pipe = MakePipe().value();
  ASSERT_TRUE(WriteAll(pipe.write.get(), "x").has_value());
  int calls = 0;
  const Watch watch = loop->OnReadable(pipe.read.get(),
                                       [&]() -> Result<> {
                                         ++calls;
                                         loop->Stop();
                                         return {};
                                       })
                          .value();

  ASSERT_TRUE(loop->Run().has_value());

  EXPECT_EQ(calls, 1);
}

TEST(EventLoopTest, HandlerMayRemoveItself) {
  auto loop = EventLoop::Create().value();
  Pipe pipe = MakePipe().value();
  ASSERT_TRUE(WriteAll(pipe.write.get(), "x").has_value());
  std::optional<Watch> watch;
  watch = loop->OnReadable(pipe.read.get(),
                           [&]() -> Result<> {
                             watch.reset();
                             loop->Stop();
                             return {};
                           })
              .value();

  ASSERT_TRUE(loop->Run().has_value());

  EXPECT_FALSE(watch.has_value());
}

TEST(EventLoopTest, ErrorOfAHandlerEndsTheLoop) {
  auto loop = EventLoop::Create().value();
  Pipe pipe = MakePipe().value();
  ASSERT_TRUE(WriteAll(pipe.write.get(), "x").has_value());
  const Watch watch = loop->OnReadable(pipe.read.get(),
                                       []() -> Result<> {
                                         return Error{EPROTO, "bad peer"};
                                       })
                          .value();

  const auto result = loop->Run();

  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, EPROTO);
}

TEST(EventLoopTest, PostedTasksRunInOrderOnTheLoopsThread) {
  auto loop = EventLoop::Create().value();
  std::vector<int> order;
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) loop->Post([&order, i] { order.push_back(i); });
    loop->Post([&] { loop->Stop(); });
  });

  ASSERT_TRUE(loop->Run().has_value());
  poster.join();

  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

}  // namespace
}  // namespace hmvm
