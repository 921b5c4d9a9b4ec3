#include "runtime/container/status.h"

#include <set>
#include <utility>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using enum Status;

// The whole life, told once more and in another way than in the table.
bool Expected(Status from, Status to) {
  static const std::set<std::pair<Status, Status>> kSteps = {
      {kCreated, kStarting}, {kStarting, kRunning}, {kRunning, kPausing},     {kPausing, kPaused},
      {kPausing, kRunning},  {kPaused, kResuming},  {kResuming, kRunning},    {kResuming, kPaused},
      {kStopped, kStarting}, {kFailed, kStarting},  {kRestarting, kStarting},
  };
  static const std::set<Status> kWithMachine = {kStarting, kRunning, kPausing, kPaused, kResuming};
  if (kSteps.contains({from, to})) return true;
  if (to == kFailed) return from != kFailed && from != kStopped;
  if (to == kStopped) return kWithMachine.contains(from) || from == kStopping || from == kRestarting;
  if (to == kStopping || to == kRestarting) return kWithMachine.contains(from);
  return false;
}

TEST(StatusTest, ExactlyTheLegalTransitionsAreLegal) {
  for (const Status from : kAllStatuses) {
    for (const Status to : kAllStatuses) {
      EXPECT_EQ(IsLegalTransition(from, to), Expected(from, to))
          << StatusName(from) << " to " << StatusName(to);
    }
  }
}

TEST(StatusTest, EachIllegalTransitionSaysWhichStatusIsInTheWay) {
  for (const Status from : kAllStatuses) {
    for (const Status to : kAllStatuses) {
      if (IsLegalTransition(from, to)) continue;
      EXPECT_NE(WhyIllegal(from, to).find("is " + std::string(StatusName(from))), std::string::npos)
          << StatusName(from) << " to " << StatusName(to) << ": " << WhyIllegal(from, to);
    }
  }
  EXPECT_EQ(WhyIllegal(kPaused, kPausing), "is paused already");
  EXPECT_EQ(WhyIllegal(kRunning, kResuming), "is not paused, it is running");
  EXPECT_EQ(WhyIllegal(kStopped, kPausing), "is not running, it is stopped");
}

TEST(StatusTest, NamesRoundTrip) {
  std::set<std::string_view> names;
  for (const Status status : kAllStatuses) {
    EXPECT_EQ(StatusFromName(StatusName(status)), status);
    names.insert(StatusName(status));
  }
  EXPECT_EQ(names.size(), std::size(kAllStatuses));
  EXPECT_FALSE(StatusFromName("").has_value());
  EXPECT_FALSE(StatusFromName("Running").has_value());
}

TEST(StatusTest, EveryStatusIsReachedAndEachThatHasEndedCanStartAgain) {
  std::set<Status> reached = {kCreated};
  for (size_t round = 0; round < std::size(kAllStatuses); ++round) {
    for (const Status from : std::set<Status>(reached)) {
      for (const Status to : kAllStatuses) {
        if (IsLegalTransition(from, to)) reached.insert(to);
      }
    }
  }
  EXPECT_EQ(reached.size(), std::size(kAllStatuses));
  for (const Status status : kAllStatuses) {
    const bool startable = IsLegalTransition(status, kStarting);
    EXPECT_EQ(startable, !HasSupervisor(status) || status == kRestarting) << StatusName(status);
  }
}

TEST(StatusTest, WhereASupervisorAnswersTheContainerCanEnd) {
  for (const Status status : kAllStatuses) {
    EXPECT_EQ(IsLegalTransition(status, kStopped), HasSupervisor(status)) << StatusName(status);
  }
}

}  // namespace
}  // namespace hmvm
