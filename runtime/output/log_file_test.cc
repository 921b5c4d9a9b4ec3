#include "runtime/output/log_file.h"

#include <fstream>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hmvm {
namespace {

using testing::ElementsAre;

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "hmvm_log_" + testing::UnitTest::GetInstance()->current_test_info()->name() +
            std::to_string(::getpid());
    auto writer = LogWriter::Open(path_);
    ASSERT_TRUE(writer.has_value());
    writer_ = std::make_unique<LogWriter>(std::move(*writer));
  }
  void TearDown() override { ::unlink(path_.c_str()); }

  std::vector<std::string> Rest(LogReader& reader) {
    std::vector<std::string> lines;
    for (;;) {
      auto line = reader.Next();
      EXPECT_TRUE(line.has_value());
      if (!line.has_value() || !line->has_value()) return lines;
      lines.push_back(((*line)->stream == OutputStream::kStderr ? "err:" : "") + (*line)->bytes);
    }
  }
  std::vector<std::string> All() {
    auto reader = LogReader::Open(path_);
    return Rest(*reader);
  }

  std::string path_;
  std::unique_ptr<LogWriter> writer_;
};

TEST_F(LogFileTest, ALogGoesOnWhereAnEarlierWriterWasKilled) {
  writer_->Append(OutputStream::kStdout, "one\n");
  std::ofstream(path_, std::ios::app) << "{\"log\":\"ha";
  writer_ = std::make_unique<LogWriter>(LogWriter::Open(path_).value());
  writer_->Append(OutputStream::kStdout, "two\n");
  EXPECT_THAT(All(), ElementsAre("one\n", "two\n"));
}

TEST_F(LogFileTest, LinesAreWholeWhateverThePieces) {
  writer_->Append(OutputStream::kStdout, "on");
  writer_->Append(OutputStream::kStderr, "bad\n");
  writer_->Append(OutputStream::kStdout, "e\ntwo\n\nthr");
  EXPECT_THAT(All(), ElementsAre("err:bad\n", "one\n", "two\n", "\n"));
  writer_->Finish(OutputStream::kStdout);
  writer_->Finish(OutputStream::kStderr);
  EXPECT_THAT(All(), ElementsAre("err:bad\n", "one\n", "two\n", "\n", "thr"));
}

TEST_F(LogFileTest, AnyBytesComeBack) {
  std::string every;
  for (int i = 0; i < 256; ++i) every += static_cast<char>(i);
  const std::vector<std::string> samples = {every,
                                            std::string(3, '\0'),
                                            "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n",
                                            "\"\\\t\r\x1b[0m\x7f\n",
                                            "\xff",
                                            "\xc0\x80",
                                            "\xed\xa0\x80",
                                            "\xe2\x82"};
  std::string written;
  for (const std::string& sample : samples) {
    writer_->Append(OutputStream::kStdout, sample);
    written += sample;
  }
  writer_->Finish(OutputStream::kStdout);
  std::string read;
  for (const std::string& line : All()) read += line;
  EXPECT_EQ(read, written);
}

TEST_F(LogFileTest, EveryEntryIsJsonAsDockerWritesIt) {
  writer_->Append(OutputStream::kStderr, "a \"b\" \xc3\xa4\x01\n");
  std::ifstream file(path_);
  const auto entry = nlohmann::json::parse(file);
  EXPECT_EQ(entry["log"], "a \"b\" \xc3\xa4\x01\n");
  EXPECT_EQ(entry["stream"], "stderr");
  EXPECT_EQ(entry["time"].get<std::string>().size(), std::string("2026-01-02T03:04:05.678901234Z").size());
}

TEST_F(LogFileTest, VeryLongLinesAreCutIntoEntries) {
  const std::string line(LogWriter::kLongestLineBytes * 2 + 5, 'x');
  writer_->Append(OutputStream::kStdout, line + "\n");
  const auto lines = All();
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0] + lines[1] + lines[2], line + "\n");
}

TEST_F(LogFileTest, ZeroesDoNotGrowSixfold) {
  writer_->Append(OutputStream::kStdout, std::string(LogWriter::kLongestLineBytes, '\0'));
  std::ifstream file(path_, std::ios::ate);
  EXPECT_LT(static_cast<size_t>(file.tellg()), LogWriter::kLongestLineBytes * 3 / 2);
}

TEST_F(LogFileTest, TailOfAnyLength) {
  for (int i = 0; i < 5000; ++i) writer_->Append(OutputStream::kStdout, std::to_string(i) + "\n");
  for (const uint64_t lines : {0U, 1U, 2U, 1234U, 4999U, 5000U, 5001U, 1000000U}) {
    auto reader = LogReader::Open(path_);
    ASSERT_TRUE(reader->SeekTail(lines).has_value());
    const auto rest = Rest(*reader);
    ASSERT_EQ(rest.size(), std::min<uint64_t>(lines, 5000)) << lines;
    if (!rest.empty()) {
      EXPECT_EQ(rest.back(), "4999\n");
      EXPECT_EQ(rest.front(), std::to_string(5000 - rest.size()) + "\n");
    }
  }
}

TEST_F(LogFileTest, AReaderAtTheEndSeesWhatComes) {
  writer_->Append(OutputStream::kStdout, "one\n");
  auto reader = LogReader::Open(path_);
  EXPECT_THAT(Rest(*reader), ElementsAre("one\n"));
  writer_->Append(OutputStream::kStdout, "two\n");
  EXPECT_THAT(Rest(*reader), ElementsAre("two\n"));
}

TEST_F(LogFileTest, AnEntryThatIsHalfWrittenWaitsAndADamagedOneIsSkipped) {
  std::string entry;
  AppendLogLine(OutputStream::kStdout, "good\n", FormatTime(0), entry);
  std::ofstream(path_) << "garbage\n{\"log\":3}\n" << entry.substr(0, 10);
  auto reader = LogReader::Open(path_);
  EXPECT_THAT(Rest(*reader), ElementsAre());
  std::ofstream(path_, std::ios::app) << entry.substr(10);
  EXPECT_THAT(Rest(*reader), ElementsAre("good\n"));
}

TEST(FormatTimeTest, Rfc3339InUtc) {
  EXPECT_EQ(FormatTime(0), "1970-01-01T00:00:00.000000000Z");
  EXPECT_EQ(FormatTime(1'700'000'000'000'000'001), "2023-11-14T22:13:20.000000001Z");
}

}  // namespace
}  // namespace hmvm
