// Snapshots of running containers: copies that go on from them are whole, and their own.
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/counting_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;

class ForkTest : public CountingTest {};

TEST_F(ForkTest, CopiesGoOnFromWhereTheOriginWasAndNoTwoAreAlike) {
  constexpr size_t kCopies = 3;
  const int before = Count("origin");

  const std::vector<std::string> ids = Lines(sandbox_->MustHmvm({"fork", "-n", "3", "origin"}));

  ASSERT_EQ(ids.size(), kCopies);
  std::set<std::string> identities;
  for (const std::string& id : ids) {
    EXPECT_GE(Count(id), before);
    EXPECT_TRUE(Counts(id));
    // What it prints goes on in its own log, without a gap.
    ASSERT_TRUE(WaitUntil([&] { return Lines(sandbox_->Hmvm({"logs", id}).out).size() > 3; }));
    const std::vector<std::string> log = Lines(sandbox_->Hmvm({"logs", id}).out);
    EXPECT_EQ(std::stoi(log[1]), std::stoi(log[0]) + 1);
    for (const std::string& line : Lines(Identity(id))) identities.insert(line);
    EXPECT_THAT(Identity(id), HasSubstr(id.substr(0, 12)));
  }
  for (const std::string& line : Lines(Identity("origin"))) identities.insert(line);
  // hostname and /etc/hostname say the same.
  EXPECT_EQ(identities.size(), (kCopies + 1) * 4);
  EXPECT_TRUE(Counts("origin"));
  EXPECT_EQ(sandbox_->MustHmvm({"snapshot", "ls", "-q"}), "");
}

TEST_F(ForkTest, ASnapshotOutlivesItsOrigin) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  sandbox_->MustHmvm({"rm", "-f", "origin"});

  sandbox_->MustHmvm({"restore", "--name", "first", "kept"});
  sandbox_->MustHmvm({"restore", "--name", "second", "kept"});
  const auto inspected = nlohmann::json::parse(sandbox_->MustHmvm({"snapshot", "inspect", "kept"}));
  sandbox_->MustHmvm({"snapshot", "rm", "kept"});

  EXPECT_TRUE(Counts("first"));
  EXPECT_TRUE(Counts("second"));
  EXPECT_NE(Identity("first"), Identity("second"));
  EXPECT_EQ(inspected["container"]["name"], "origin");
  EXPECT_EQ(inspected["machine"]["cpus"], 1);
  EXPECT_EQ(sandbox_->MustHmvm({"snapshot", "ls", "-q"}), "");
}

TEST_F(ForkTest, ACopyStopsAndStartsAsAnyContainer) {
  const std::string id = sandbox_->MustHmvm({"fork", "origin"});

  sandbox_->MustHmvm({"stop", "-t", "0", id});
  sandbox_->MustHmvm({"start", id});

  EXPECT_TRUE(Counts(id));
  EXPECT_TRUE(Counts("origin"));
}

// Its guest knows it by its origin's id.
TEST_F(ForkTest, ACopysGuestIsAskedAsAnyContainers) {
  sandbox_->MustHmvm({"run", "-d", "--name", "well", "--health-cmd", "test -e /up", "--health-interval",
                      "50ms", "--health-retries", "1", "busybox", "sleep", "100000"});
  const std::string id = sandbox_->MustHmvm({"fork", "well"});
  const auto health = [&] {
    return nlohmann::json::parse(sandbox_->MustHmvm({"inspect", id}))[0]["health"]["status"]
        .get<std::string>();
  };
  EXPECT_TRUE(WaitUntil([&] { return health() == "unhealthy"; }));
  sandbox_->MustHmvm({"exec", id, "touch", "/up"});

  EXPECT_TRUE(WaitUntil([&] { return health() == "healthy"; }));
  EXPECT_THAT(sandbox_->MustHmvm({"top", id}), HasSubstr("sleep 100000"));
  EXPECT_THAT(sandbox_->MustHmvm({"stats", "--no-stream", "--format", "json", id}),
              testing::ContainsRegex("\"pids\":[12]"));
}

TEST_F(ForkTest, WhatCannotBeIsToldInOneLine) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "taken"});
  const Outcome taken = sandbox_->Hmvm({"snapshot", "create", "origin", "taken"});
  const Outcome missing = sandbox_->Hmvm({"restore", "nothing"});
  const Outcome bad_name = sandbox_->Hmvm({"snapshot", "create", "origin", "../x"});
  sandbox_->MustHmvm({"stop", "-t", "0", "origin"});
  const Outcome stopped = sandbox_->Hmvm({"fork", "origin"});
  sandbox_->MustHmvm({"snapshot", "rm", "taken"});

  EXPECT_THAT(taken.err, HasSubstr("is taken"));
  EXPECT_THAT(missing.err, HasSubstr("no snapshot 'nothing'"));
  EXPECT_NE(bad_name.exit_code, 0);
  EXPECT_THAT(stopped.err, HasSubstr("only one that runs"));
}

}  // namespace
}  // namespace hmvm::test
