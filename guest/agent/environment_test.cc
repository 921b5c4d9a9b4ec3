#include "guest/agent/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

TEST(CompleteEnvironmentTest, EmptyGetsDockersDefaults) {
  EXPECT_THAT(CompleteEnvironment({}, {.hostname = "box", .home = "/root", .terminal = true}),
              ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=box",
                          "HOME=/root", "TERM=xterm"));
}

TEST(CompleteEnvironmentTest, GivenValuesWin) {
  const auto environment =
      CompleteEnvironment({"PATH=/bin", "A=1", "HOME=/tmp", "A=2"}, {.hostname = "box", .home = "/root"});

  EXPECT_THAT(environment, ElementsAre("PATH=/bin", "HOSTNAME=box", "HOME=/tmp", "A=2"));
}

TEST(CompleteEnvironmentTest, EntryWithoutValueIsDropped) {
  EXPECT_THAT(CompleteEnvironment({"BROKEN", "EMPTY="}, {}),
              AllOf(Not(Contains("BROKEN")), Contains("EMPTY=")));
}

TEST(EnvironmentValueTest, NameIsMatchedWhole) {
  EXPECT_EQ(EnvironmentValue({"PATHS=/x", "PATH=/bin"}, "PATH"), "/bin");
  EXPECT_EQ(EnvironmentValue({"PATHS=/x"}, "PATH"), "");
}

}  // namespace
}  // namespace hmvm::agent
