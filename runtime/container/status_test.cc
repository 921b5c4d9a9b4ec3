#include "runtime/container/status.h"

#include <set>
#include <utility>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(StatusTest, ExactlyTheLegalTransitionsAreLegal) {
  using enum Status;
  const std::set<std::pair<Status, Status>> legal = {
      {kCreated, kStarting}, {kStarting, kRunning}, {kStarting, kStopping}, {kRunning, kStopping},
      {kRunning, kStopped},  {kStopping, kStopped}, {kCreated, kFailed},    {kStarting, kFailed},
      {kRunning, kFailed},   {kStopping, kFailed},
  };

  for (const Status from : kAllStatuses) {
    for (const Status to : kAllStatuses) {
      EXPECT_EQ(IsLegalTransition(from, to), legal.contains({from, to}))
          << StatusName(from) << " to " << StatusName(to);
    }
  }
}

TEST(StatusTest, NamesRoundTrip) {
  for (const Status status : kAllStatuses) EXPECT_EQ(StatusFromName(StatusName(status)), status);
  EXPECT_FALSE(StatusFromName("").has_value());
  EXPECT_FALSE(StatusFromName("Running").has_value());
}

TEST(StatusTest, NothingFollowsAFinalStatus) {
  for (const Status from : kAllStatuses) {
    bool any = false;
    for (const Status to : kAllStatuses) any = any || IsLegalTransition(from, to);
    EXPECT_EQ(any, !IsFinal(from)) << StatusName(from);
  }
}

}  // namespace
}  // namespace hmvm
