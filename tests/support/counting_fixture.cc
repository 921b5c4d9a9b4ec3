#include "tests/support/counting_fixture.h"

#include <sstream>

#include <nlohmann/json.hpp>

namespace hmvm::test {

using testing::IsEmpty;

void CountingTest::SetUp() {
  GuestTest::SetUp();
  if (IsSkipped()) return;
  sandbox_->MustHmvm({"run", "-d", "--name", "origin", "busybox", "sh", "-c",
                      "n=0; while :; do n=$((n+1)); echo $n; echo $n > /tmp/n; sleep 0.02; done"});
  ASSERT_TRUE(WaitUntil([] { return Count("origin") > 3; }));
}

void CountingTest::TearDown() {
  if (sandbox_ == nullptr) return;
  for (const std::string& id : Lines(sandbox_->MustHmvm({"ps", "-aq"}))) sandbox_->Hmvm({"rm", "-f", id});
  for (const std::string& name : Lines(sandbox_->MustHmvm({"snapshot", "ls", "-q"})))
    sandbox_->MustHmvm({"snapshot", "rm", name});
  EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
}

std::vector<std::string> CountingTest::Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

int CountingTest::Count(const std::string& container) {
  std::string text;
  // Its file is empty for a moment each time that it is written; of one that has ended it is not read at all.
  for (int tries = 0; tries < 20 && text.empty(); ++tries) {
    const Outcome read = sandbox_->Hmvm({"exec", container, "cat", "/tmp/n"});
    if (read.exit_code != 0) return 0;
    text = read.out;
  }
  return text.empty() ? 0 : std::stoi(text);
}

bool CountingTest::Counts(const std::string& container) {
  const int before = Count(container);
  bool counts = false;
  // One that has ended will never, so nobody waits for it.
  const auto decided = [&] {
    counts = Count(container) > before;
    return counts || Status(container) != "running";
  };
  return WaitUntil(decided) && counts;
}

std::string CountingTest::Status(const std::string& container) {
  return nlohmann::json::parse(sandbox_->MustHmvm({"inspect", container}))[0]["status"];
}

std::string CountingTest::Identity(const std::string& container) {
  return sandbox_->MustHmvm({"exec", container, "sh", "-c",
                             "hostname; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/uuid; "
                             "head -c 16 /dev/urandom | od -An -tx1"});
}

}  // namespace hmvm::test
