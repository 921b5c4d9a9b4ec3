// One line of a container's output as the log file keeps it, in the form of docker's json-file driver:
//   {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
// Bytes that are not UTF-8 (or would grow more by escaping) stand in "base64" instead of "log": nothing is
// lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hmvm {

enum class OutputStream { kStdout, kStderr };

struct LogLine {
  OutputStream stream = OutputStream::kStdout;
  std::string bytes;  // with its newline, if it ended in one
  std::string time;   // RFC 3339 with nanoseconds, UTC

  bool operator==(const LogLine&) const = default;
};

std::string FormatTime(int64_t unix_ns);

// Appends the line and its newline to `out`.
void AppendLogLine(OutputStream stream, std::string_view bytes, std::string_view time, std::string& out);

// Nothing for text that is no line of such a file.
std::optional<LogLine> DecodeLogLine(std::string_view text);

}  // namespace hmvm
