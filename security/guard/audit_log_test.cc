#include "security/guard/audit_log.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class AuditLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hmvm_audit_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name + "/audit";
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  void Append(int number) const {
    const auto log = AuditLog::Open(folder_);
    ASSERT_TRUE(log.has_value()) << log.error().Message();
    const auto done = log->Append({{"event", "breach"}, {"number", number}});
    ASSERT_TRUE(done.has_value()) << done.error().Message();
  }
  void AppendSome(int count) const {
    for (int i = 0; i < count; ++i) Append(i);
  }
  std::string Path() const { return AuditLog::PathIn(folder_); }
  std::vector<std::string> Lines() const {
    std::ifstream file(Path());
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  void Write(const std::vector<std::string>& lines) const {
    std::ofstream file(Path());
    for (const std::string& line : lines) file << line << '\n';
  }
  AuditVerdict Verify() const {
    const auto verdict = VerifyAuditLog(Path());
    EXPECT_TRUE(verdict.has_value()) << verdict.error().Message();
    return verdict.value_or(AuditVerdict());
  }

  std::string root_;
  std::string folder_;
};

TEST_F(AuditLogTest, WhatWasWrittenVerifies) {
  AppendSome(3);

  const AuditVerdict verdict = Verify();

  EXPECT_EQ(verdict.problem, "");
  EXPECT_EQ(verdict.lines, 3u);
  const auto line = nlohmann::json::parse(Lines()[2]);
  EXPECT_EQ(line["line"], 3);
  EXPECT_EQ(line["number"], 2);
  EXPECT_THAT(line["time"].get<std::string>(), HasSubstr("T"));
}

TEST_F(AuditLogTest, AnAbsentLogIsAnError) { EXPECT_EQ(VerifyAuditLog(Path()).error().code, ENOENT); }

TEST_F(AuditLogTest, AChangedLineIsFound) {
  AppendSome(4);
  auto lines = Lines();
  lines[1].replace(lines[1].find("breach"), 6, "beach ");
  Write(lines);

  EXPECT_THAT(Verify().problem, StartsWith("line 3: does not fit the line before it"));
}

TEST_F(AuditLogTest, AChangedLastLineIsFound) {
  AppendSome(4);
  auto lines = Lines();
  lines[3].replace(lines[3].find("breach"), 6, "beach ");
  Write(lines);

  EXPECT_THAT(Verify().problem, HasSubstr("the line before it was changed"));
}

TEST_F(AuditLogTest, ALineThatWasCutOutIsFound) {
  AppendSome(4);
  auto lines = Lines();
  lines.erase(lines.begin() + 1);
  Write(lines);

  const AuditVerdict verdict = Verify();

  EXPECT_THAT(verdict.problem, StartsWith("line 2: says that it is line 3"));
  EXPECT_EQ(verdict.lines, 1u);
}

TEST_F(AuditLogTest, LinesInAnotherOrderAreFound) {
  AppendSome(4);
  auto lines = Lines();
  std::swap(lines[1], lines[2]);
  Write(lines);

  EXPECT_THAT(Verify().problem, StartsWith("line 2: "));
}

TEST_F(AuditLogTest, ATailThatWasCutOffIsFound) {
  AppendSome(4);
  auto lines = Lines();
  lines.resize(2);
  Write(lines);

  EXPECT_EQ(Verify().problem, "line 3: is missing: the log's head knows of 4");
}

TEST_F(AuditLogTest, AnEmptiedLogIsFound) {
  AppendSome(2);
  Write({});

  EXPECT_THAT(Verify().problem, StartsWith("line 1: is missing"));
}

TEST_F(AuditLogTest, AfterACutTailTheLogGoesOnAndTheCutStaysToBeSeen) {
  AppendSome(4);
  auto lines = Lines();
  lines.resize(2);
  Write(lines);
  Append(4);

  EXPECT_THAT(Verify().problem, StartsWith("line 3: says that it is line 5"));
}

TEST_F(AuditLogTest, AddedLinesAreFound) {
  AppendSome(2);
  auto lines = Lines();
  lines.push_back(R"({"line":3,"previous":"00"})");
  Write(lines);

  EXPECT_THAT(Verify().problem, StartsWith("line 3: does not fit"));
}

TEST_F(AuditLogTest, AMissingHeadIsFound) {
  AppendSome(2);
  fs::remove(folder_ + "/audit.head");

  EXPECT_THAT(Verify().problem, HasSubstr("head is missing or damaged"));
}

TEST_F(AuditLogTest, WhatAKilledWriterLeftIsNoProblemAndIsClosedByTheNext) {
  AppendSome(2);
  std::ofstream(Path(), std::ios::app) << R"({"line":3,"ti)";

  EXPECT_EQ(Verify().problem, "");
  Append(2);
  EXPECT_EQ(Verify().problem, "");
  EXPECT_EQ(Verify().lines, 3u);
}

TEST_F(AuditLogTest, ALineThatItsWriterCouldNotEnterIntoTheHeadCounts) {
  AppendSome(2);
  std::ifstream head(folder_ + "/audit.head");
  const std::string before{std::istreambuf_iterator<char>(head), {}};
  Append(2);
  std::ofstream(folder_ + "/audit.head") << before;

  EXPECT_EQ(Verify().problem, "");
  Append(3);
  EXPECT_EQ(Verify().problem, "");
  EXPECT_EQ(Verify().lines, 4u);
}

TEST_F(AuditLogTest, WritersAtTheSameTimeMakeOneChain) {
  constexpr int kWriters = 4, kLines = 20;
  for (int i = 0; i < kWriters; ++i) {
    if (::fork() != 0) continue;
    AppendSome(kLines);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0, failed = 0;
  while (::wait(&status) > 0) failed += status != 0 ? 1 : 0;

  EXPECT_EQ(failed, 0);
  EXPECT_EQ(Verify().problem, "");
  EXPECT_EQ(Verify().lines, uint64_t{kWriters * kLines});
}

TEST_F(AuditLogTest, AnyBytesAreKeptAsText) {
  const auto log = AuditLog::Open(folder_);
  ASSERT_TRUE(log->Append({{"thread", "\xff\n\x1b"}}).has_value());

  EXPECT_EQ(Verify().problem, "");
  EXPECT_EQ(Lines().size(), 1u);
}

}  // namespace
}  // namespace hmvm
