#include "runtime/supervisor/health_monitor.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

class HealthMonitorTest : public testing::Test {
 protected:
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  std::vector<HealthMonitor::Done> probes_;
  std::vector<int> results_;
  HealthMonitor monitor_{
      *loop_,
      {.command = {"x"}, .interval = milliseconds(5)},
      {.probe =
           [this](HealthMonitor::Done done) {
             probes_.push_back(std::move(done));
             loop_->Stop();
           },
       .on_result = [this](const ProbeResult& result) { results_.push_back(result.exit_code); }}};
};

TEST_F(HealthMonitorTest, TheNextProbeComesAfterTheLastHasEnded) {
  monitor_.Begin();
  ASSERT_TRUE(loop_->Run().has_value());
  Timer later(*loop_);
  ASSERT_TRUE(later.Set(milliseconds(30), [this] { loop_->Stop(); }).has_value());
  ASSERT_TRUE(loop_->Run().has_value());
  ASSERT_EQ(probes_.size(), 1U) << "it has not ended";

  probes_[0](ProbeResult{.exit_code = 3, .output = ""});
  ASSERT_TRUE(loop_->Run().has_value());

  EXPECT_EQ(probes_.size(), 2U);
  EXPECT_THAT(results_, ElementsAre(3));
}

TEST_F(HealthMonitorTest, WhatWasHeldMeanwhileSaysNothing) {
  monitor_.Begin();
  ASSERT_TRUE(loop_->Run().has_value());
  monitor_.End();
  monitor_.Begin();
  probes_[0](ProbeResult{.exit_code = -1, .output = ""});
  ASSERT_TRUE(loop_->Run().has_value());
  EXPECT_THAT(results_, testing::IsEmpty());
  EXPECT_EQ(probes_.size(), 2U);
}

}  // namespace
}  // namespace hmvm
