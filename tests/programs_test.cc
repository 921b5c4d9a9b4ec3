// Real programs of Debian's at real work: compilers, interpreters, servers, a database. The same work is done
// under runc, and must come to the same, byte for byte: the programs print results only, no time, address or
// pid.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/side_by_side.h"

namespace hmvm::test {
namespace {

struct Work {
  const char* name;
  const char* file;  // in tests/programs/: what the container gets as /tmp/work/FILE
  const char* line;  // a shell line in that folder
};

// For failures: the name alone.
void PrintTo(const Work& work, std::ostream* out) { *out << work.name; }

constexpr Work kWorks[] = {
    {"Gcc", "work.c",
     "gcc -O2 -w -pthread -o c work.c -lm && ./c && gcc -static -w -pthread -o c work.c -lm && ./c"},
    {"Timers", "timers.c", "gcc -O2 -w -o timers timers.c && ./timers"},
    {"Intervals", "intervals.c", "gcc -O2 -w -o intervals intervals.c && ./intervals"},
    {"Copies", "copies.c", "gcc -O2 -w -pthread -o copies copies.c && ./copies"},
    {"GccMake", "build.sh", "./build.sh"},
    {"Gxx", "work.cc", "g++ -std=c++17 -O1 -pthread -o cc work.cc && ./cc"},
    {"Python", "work.py", "./work.py"},
    {"Perl", "work.pl", "./work.pl"},
    {"Node", "work.js", "./work.js"},
    {"Redis", "redis.sh", "./redis.sh"},
    {"Nginx", "nginx.sh", "./nginx.sh"},
    {"Sqlite", "sqlite.sh", "./sqlite.sh"},
    {"Gdb", "gdb.sh", "./gdb.sh"},
    {"Strace", "strace.sh", "./strace.sh"},
    {"Stress", "stress.sh", "./stress.sh"},
};

constexpr int kCpus[] = {1, 2};

class ProgramsTest : public testing::TestWithParam<std::tuple<int, Work>> {
 protected:
  static void SetUpTestSuite() {
    if (!SideBySide::WhyNot().empty()) return;
    both_ = std::make_unique<SideBySide>();
    both_->StartRunc("programs");
    for (const int cpus : kCpus) {
      const std::string number = std::to_string(cpus);
      both_->StartGuest(number, {"-m", "1g", "--cpus", number});
    }
  }
  static void TearDownTestSuite() { both_.reset(); }
  void SetUp() override {
    if (const std::string why = SideBySide::WhyNot(); !why.empty())
      GTEST_SKIP() << "can't compare with runc: " << why;
  }

  static std::unique_ptr<SideBySide> both_;
};
std::unique_ptr<SideBySide> ProgramsTest::both_;

TEST_P(ProgramsTest, DoesWhatItDoesUnderRunc) {
  const auto& [cpus, work] = GetParam();
  std::ifstream file(SourceDir() / "tests/programs" / work.file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string name = work.file;
  const std::vector<std::string> command = {"sh", "-c",
                                            "mkdir -p /tmp/work && cd /tmp/work && cat >" + name +
                                                " && chmod +x " + name + " && exec </dev/null && " +
                                                work.line};

  const Outcome runc = both_->UnderRunc(command, text);
  const Outcome guest = both_->InGuest(std::to_string(cpus), command, text);

  EXPECT_EQ(runc.exit_code, 0) << Describe(runc);
  EXPECT_EQ(guest.exit_code, 0);
  EXPECT_EQ(guest.out, runc.out);
  EXPECT_EQ(guest.err, runc.err);
}
INSTANTIATE_TEST_SUITE_P(Cpus, ProgramsTest,
                         testing::Combine(testing::ValuesIn(kCpus), testing::ValuesIn(kWorks)),
                         [](const auto& info) {
                           return std::get<1>(info.param).name + std::to_string(std::get<0>(info.param));
                         });

}  // namespace

}  // namespace hmvm::test
