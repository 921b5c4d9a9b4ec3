#include "runtime/events/event_log.h"

#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

namespace fs = std::filesystem;

class EventLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hmvm_events_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name + "/events";
  }
  void TearDown() override { fs::remove_all(folder_.parent_path()); }

  static Event Numbered(int number) {
    Event event = NewEvent("running", std::string(64, 'a'), "web", "busybox");
    event.details["number"] = std::to_string(number);
    return event;
  }
  static std::vector<int> Numbers(EventReader& reader) {
    std::vector<int> numbers;
    for (;;) {
      const auto event = reader.Next();
      EXPECT_TRUE(event.has_value());
      if (!event.has_value() || !event->has_value()) return numbers;
      numbers.push_back(std::stoi((*event)->details.at("number")));
    }
  }

  fs::path folder_;
};

TEST(EventTest, ComesBackAsItWas) {
  Event event = NewEvent("stopped", "id", "name", "image:1");
  event.details = {{"exit_code", "3"}, {"reason", "a \"quoted\"\nline"}};
  EXPECT_GT(event.unix_ns, 0);
  EXPECT_GT(event.monotonic_ns, 0U);

  const std::string line = EncodeEvent(event);

  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(DecodeEvent(line), event);
}

TEST(EventTest, WhatIsNoEventIsNothing) {
  for (const char* text : {"", "{}", "[1]", "{\"unix_ns\":\"x\"}", "\xff", "{\"unix_ns\":1"}) {
    EXPECT_FALSE(DecodeEvent(text).has_value()) << text;
  }
  EXPECT_EQ(DecodeEvent(EncodeEvent(NewEvent("a", "\xff", "", "")))->id, "\xef\xbf\xbd");
}

TEST_F(EventLogTest, IsReadInTheOrderOfWritingAndFollowed) {
  const EventLog log = EventLog::Open(folder_).value();
  EventReader reader = EventReader::Open(log).value();
  EXPECT_THAT(Numbers(reader), testing::IsEmpty());

  ASSERT_TRUE(log.Append(Numbered(1)).has_value());
  ASSERT_TRUE(log.Append(Numbered(2)).has_value());
  EXPECT_THAT(Numbers(reader), testing::ElementsAre(1, 2));
  ASSERT_TRUE(log.Append(Numbered(3)).has_value());
  EXPECT_THAT(Numbers(reader), testing::ElementsAre(3));
}

TEST_F(EventLogTest, StaysBoundedAndAReaderFollowsIntoTheNextFile) {
  constexpr uint64_t kFull = 2000;
  const EventLog log = EventLog::Open(folder_, kFull).value();
  EventReader reader = EventReader::Open(log).value();
  std::vector<int> read;

  for (int number = 0; number < 100; ++number) {
    ASSERT_TRUE(log.Append(Numbered(number)).has_value());
    if (number % 5 != 0) continue;
    for (const int seen : Numbers(reader)) read.push_back(seen);
  }

  EXPECT_EQ(read.size(), 96U);
  EXPECT_TRUE(std::ranges::is_sorted(read));
  uint64_t total = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(folder_)) total += file.file_size();
  EXPECT_LT(total, 2 * kFull + 2 * EncodeEvent(Numbered(100)).size());
  EventReader late = EventReader::Open(log).value();
  EXPECT_EQ(Numbers(late).back(), 99);
}

TEST_F(EventLogTest, HalfALineOfAKilledWriterHarmsNoOther) {
  const EventLog log = EventLog::Open(folder_).value();
  ASSERT_TRUE(log.Append(Numbered(1)).has_value());
  std::ofstream(folder_ / "events.jsonl", std::ios::app) << EncodeEvent(Numbered(2)).substr(0, 40);
  ASSERT_TRUE(log.Append(Numbered(3)).has_value());

  EventReader reader = EventReader::Open(log).value();
  EXPECT_THAT(Numbers(reader), testing::ElementsAre(1, 3));
}

TEST_F(EventLogTest, ManyWritersLoseNothing) {
  const EventLog log = EventLog::Open(folder_).value();
  std::vector<pid_t> writers;
  for (int writer = 0; writer < 4; ++writer) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (int number = 0; number < 50; ++number) (void)log.Append(Numbered(writer * 50 + number));
      ::_exit(0);
    }
    writers.push_back(pid);
  }
  for (const pid_t pid : writers) ::waitpid(pid, nullptr, 0);

  EventReader reader = EventReader::Open(log).value();
  std::vector<int> numbers = Numbers(reader);
  std::ranges::sort(numbers);
  ASSERT_EQ(numbers.size(), 200U);
  for (int number = 0; number < 200; ++number) EXPECT_EQ(numbers[static_cast<size_t>(number)], number);
}

}  // namespace
}  // namespace hmvm
