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

TEST(EventLoopTest, WhatWasPostedBeforeAStopStillRuns) {
  auto loop = EventLoop::Create().value();
  bool ran = false;
  loop->Post([&] {
    loop->Post([&] { ran = true; });
    loop->Stop();
  });

  ASSERT_TRUE(loop->Run().has_value());

  EXPECT_TRUE(ran);
}

// Given away with its watch by a thread that has no business with the loop otherwise.
TEST(EventLoopTest, WhatAPostedTaskOwnsEndsOnTheLoopsThread) {
  struct Owned {
    Pipe pipe = MakePipe().value();
    Watch watch;
    std::vector<std::thread::id>* ended_on = nullptr;
    ~Owned() { ended_on->push_back(std::this_thread::get_id()); }
  };
  constexpr size_t kTasks = 200;
  auto loop = EventLoop::Create().value();
  std::vector<std::thread::id> ended_on;
  std::vector<std::unique_ptr<Owned>> all;
  for (size_t i = 0; i < kTasks; ++i) {
    all.push_back(std::make_unique<Owned>());
    all.back()->ended_on = &ended_on;
    all.back()->watch = loop->OnReadable(all.back()->pipe.read.get(), [] { return Result<>(); }).value();
  }
  std::thread poster([&] {
    for (auto& owned : all) loop->Post([owned = std::move(owned)] {});
    loop->Post([&] { loop->Stop(); });
  });

  ASSERT_TRUE(loop->Run().has_value());
  poster.join();

  EXPECT_EQ(ended_on, std::vector(kTasks, std::this_thread::get_id()));
}

TEST(EventLoopTest, WhatIsPostedAndNeverRunEndsWithTheLoop) {
  auto loop = EventLoop::Create().value();
  Pipe pipe = MakePipe().value();
  bool ran = false;
  Watch watch = loop->OnReadable(pipe.read.get(), [] { return Result<>(); }).value();
  loop->Post([&ran, watch = std::move(watch)] { ran = true; });

  loop.reset();

  EXPECT_FALSE(ran);
}

// Before Run() and after it the loop is its owner's.
TEST(EventLoopTest, WatchesComeAndGoOnAnotherThreadThanRunsWhileItDoesNot) {
  auto loop = EventLoop::Create().value();
  Pipe pipe = MakePipe().value();
  {
    const Watch watch = loop->OnReadable(pipe.read.get(), [] { return Result<>(); }).value();
    std::thread runner([&] { EXPECT_TRUE(loop->Run().has_value()); });
    loop->Stop();
    runner.join();
  }

  EXPECT_TRUE(loop->OnReadable(pipe.read.get(), [] { return Result<>(); }).has_value());
}

}  // namespace
}  // namespace hmvm
