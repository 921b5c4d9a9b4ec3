// Snapshots of running containers: copies that go on from them are whole, and their own.
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// A container "origin" that counts, and prints every number.
class ForkTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    sandbox_->MustHmvm({"run", "-d", "--name", "origin", "busybox", "sh", "-c",
                        "n=0; while :; do n=$((n+1)); echo $n; echo $n > /tmp/n; sleep 0.02; done"});
    ASSERT_TRUE(WaitUntil([] { return Count("origin") > 3; }));
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    for (const std::string& id : Lines(sandbox_->MustHmvm({"ps", "-aq"}))) sandbox_->Hmvm({"rm", "-f", id});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }
  static std::vector<std::string> Lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }
  static int Count(const std::string& container) {
    const std::string text = sandbox_->Hmvm({"exec", container, "cat", "/tmp/n"}).out;
    return text.empty() ? 0 : std::stoi(text);
  }
  static bool Counts(const std::string& container) {
    const int before = Count(container);
    return WaitUntil([&] { return Count(container) > before; });
  }
  static std::string Identity(const std::string& container) {
    return sandbox_->MustHmvm({"exec", container, "sh", "-c",
                               "hostname; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/uuid; "
                               "head -c 16 /dev/urandom | od -An -tx1"});
  }
};

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
