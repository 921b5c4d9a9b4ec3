#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/output/line_buffer.h"
#include "runtime/output/log_line.h"

namespace hmvm {

// Appends a container's output to its log file, line by line. Thread-safe. A full disk loses log lines (whole
// ones), never the container: writing goes on when there is room again.
class LogWriter {
 public:
  // Appends to the file, or creates it (0600).
  static Result<LogWriter> Open(const std::string& path);
  LogWriter(LogWriter&& other) noexcept : fd_(std::move(other.fd_)), size_bytes_(other.size_bytes_) {}

  // Takes output of one stream in pieces of any size. What has no newline yet is kept back, up to
  // kLongestLineBytes, so that a line is one entry of the file.
  void Append(OutputStream stream, std::string_view bytes);
  // Writes what is kept back: at the end of the stream.
  void Finish(OutputStream stream);

  static constexpr size_t kLongestLineBytes = 16 << 10;

 private:
  LogWriter(UniqueFd fd, uint64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}
  void Write(const std::string& encoded);

  UniqueFd fd_;
  std::mutex mutex_;
  std::string kept_[2];  // by stream
  std::string encoded_;  // a member for its capacity
  uint64_t size_bytes_ = 0;
};

// Reads a log file, also one that is still being written.
class LogReader {
 public:
  static Result<LogReader> Open(const std::string& path);

  // Moves to the last `lines` whole entries.
  Result<> SeekTail(uint64_t lines);
  // The next entry; nothing at the end of what is there now (more may come). Damaged entries are skipped.
  Result<std::optional<LogLine>> Next();

 private:
  explicit LogReader(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  LineBuffer lines_;
};

}  // namespace hmvm
