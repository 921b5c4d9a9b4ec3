// The event log of one installation: what happened to its containers, a line each, appended by whichever
// process made it happen.
//   <folder>/events.jsonl    the newest; when it is full it becomes
//   <folder>/events.jsonl.1  which it replaces: the log never holds more than twice EventLog::kFullBytes
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/events/event.h"
#include "runtime/output/line_buffer.h"

namespace hmvm {

class EventLog {
 public:
  static constexpr uint64_t kFullBytes = 4 << 20;

  // Makes the folder (0700) where it is not there. `full_bytes` for tests.
  static Result<EventLog> Open(const std::string& folder, uint64_t full_bytes = kFullBytes);

  // Adds a line, whole or not at all, whatever other processes do at the same time. What a writer that was
  // killed left of a line is closed first; readers skip it.
  Result<> Append(const Event& event) const;

  const std::string& folder() const { return folder_; }

 private:
  EventLog(std::string folder, uint64_t full_bytes) : folder_(std::move(folder)), full_bytes_(full_bytes) {}

  std::string folder_;
  uint64_t full_bytes_;
};

// Reads a log from its oldest event on, also while it is written and when it is put aside meanwhile.
class EventReader {
 public:
  static Result<EventReader> Open(const EventLog& log);

  // The next event; nothing at the end of what is there now (more may come). Damaged lines are skipped.
  Result<std::optional<Event>> Next();

 private:
  explicit EventReader(std::string path) : path_(std::move(path)) {}
  Result<bool> ReadOn();
  Result<bool> GoToNewer();

  std::string path_;  // of the newest file
  UniqueFd fd_;       // none: there is no file yet
  LineBuffer lines_;
};

}  // namespace hmvm
