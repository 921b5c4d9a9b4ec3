#include "runtime/supervisor/stop_sequence.h"

#include <signal.h>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

// A container whose patience the test chooses: it ends at the action named, or never.
class StopSequenceTest : public testing::Test {
 protected:
  void Do(const std::string& action) {
    done_.push_back(action);
    if (action == ends_at_ || action == "power cut") loop_->Stop();
  }
  void RunUntil(const std::string& action) {
    ends_at_ = action;
    ASSERT_TRUE(loop_->Run().has_value());
  }

  std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  std::vector<std::string> done_;
  std::string ends_at_;
  StopSequence stop_{*loop_,
                     {.signal_first = [this](int signal) { Do("signal " + std::to_string(signal)); },
                      .kill_all = [this] { Do("kill"); },
                      .end_machine = [this] { Do("power cut"); }}};
};

TEST_F(StopSequenceTest, WhatIgnoresAllLosesItsPower) {
  stop_.Begin(SIGTERM, milliseconds(10));
  RunUntil("never");
  EXPECT_THAT(done_, ElementsAre("signal 15", "kill", "power cut"));
}

TEST_F(StopSequenceTest, WithoutGraceItIsKilledAtOnce) {
  stop_.Begin(SIGINT, milliseconds(0));
  EXPECT_THAT(done_, ElementsAre("kill"));
  stop_.Begin(SIGINT, milliseconds(60'000));
  EXPECT_THAT(done_, ElementsAre("kill")) << "SIGKILL is not taken back";
}

TEST_F(StopSequenceTest, WhatHasEndedIsLeftAlone) {
  stop_.Begin(SIGTERM, milliseconds(1));
  stop_.Cancel();
  Timer later(*loop_);
  ASSERT_TRUE(later.Set(milliseconds(50), [this] { loop_->Stop(); }).has_value());
  RunUntil("never");
  EXPECT_THAT(done_, ElementsAre("signal 15"));
}

TEST_F(StopSequenceTest, AShorterGraceReplacesALongerOne) {
  stop_.Begin(SIGTERM, milliseconds(600'000));
  stop_.Begin(SIGTERM, milliseconds(1));
  RunUntil("kill");
  EXPECT_THAT(done_, ElementsAre("signal 15", "signal 15", "kill"));
}

}  // namespace
}  // namespace hmvm
