#include "runtime/output/log_file.h"

#include <algorithm>

#include "base/clock.h"
#include "base/file.h"

namespace hmvm {
namespace {

size_t Index(OutputStream stream) { return stream == OutputStream::kStdout ? 0 : 1; }

}  // namespace

Result<LogWriter> LogWriter::Open(const std::string& path) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT | O_APPEND, 0600));
  HMVM_TRY_ASSIGN(uint64_t size, FileSize(fd.get(), path));
  // A writer that was killed may have left half an entry.
  char last = '\n';
  if (size > 0) (void)!::pread(fd.get(), &last, 1, static_cast<off_t>(size) - 1);
  if (last != '\n') {
    HMVM_TRY(WriteAll(fd.get(), std::string_view("\n")));
    ++size;
  }
  return LogWriter(std::move(fd), size);
}

void LogWriter::Append(OutputStream stream, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  const std::string time = FormatTime(NowUnixNs());
  std::string& kept = kept_[Index(stream)];
  encoded_.clear();
  while (!bytes.empty()) {
    const size_t room = kLongestLineBytes - kept.size();
    const size_t newline = bytes.substr(0, room).find('\n');
    const size_t take = newline != std::string_view::npos ? newline + 1 : std::min(room, bytes.size());
    const bool complete = newline != std::string_view::npos || take == room;
    if (complete && kept.empty()) {
      AppendLogLine(stream, bytes.substr(0, take), time, encoded_);
    } else {
      kept.append(bytes.substr(0, take));
      if (complete) {
        AppendLogLine(stream, kept, time, encoded_);
        kept.clear();
      }
    }
    bytes.remove_prefix(take);
  }
  if (!encoded_.empty()) Write(encoded_);
}

void LogWriter::Finish(OutputStream stream) {
  const std::lock_guard lock(mutex_);
  std::string& kept = kept_[Index(stream)];
  if (kept.empty()) return;
  encoded_.clear();
  AppendLogLine(stream, kept, FormatTime(NowUnixNs()), encoded_);
  kept.clear();
  Write(encoded_);
}

void LogWriter::Write(const std::string& encoded) {
  if (WriteAll(fd_.get(), encoded).has_value()) {
    size_bytes_ += encoded.size();
    return;
  }
  // Half an entry would spoil the one after it.
  (void)!::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_));
}

Result<LogReader> LogReader::Open(const std::string& path) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY));
  return LogReader(std::move(fd));
}

Result<> LogReader::SeekTail(uint64_t lines) {
  HMVM_TRY_ASSIGN(const uint64_t size, FileSize(fd_.get(), "log file"));
  char chunk[16384];
  uint64_t end = size;    // of the part not looked at yet
  uint64_t start = size;  // where the tail begins
  uint64_t newlines = 0;  // each entry ends in one: the tail begins behind the (lines + 1)th from the end
  while (end > 0 && newlines <= lines) {
    const uint64_t begin = end - std::min<uint64_t>(end, sizeof(chunk));
    const ssize_t got = ::pread(fd_.get(), chunk, end - begin, static_cast<off_t>(begin));
    if (got < 0) return Error{errno, "read log file"};
    if (static_cast<uint64_t>(got) < end - begin) break;  // cut meanwhile
    for (uint64_t i = end - begin; i > 0 && newlines <= lines; --i) {
      if (chunk[i - 1] != '\n') continue;
      if (++newlines > lines) start = begin + i;
    }
    end = begin;
  }
  if (newlines <= lines) start = 0;
  if (::lseek(fd_.get(), static_cast<off_t>(start), SEEK_SET) < 0) return Error{errno, "seek in log file"};
  lines_.Clear();
  return {};
}

Result<std::optional<LogLine>> LogReader::Next() {
  for (;;) {
    while (const auto text = lines_.Next()) {
      auto line = DecodeLogLine(*text);
      if (line.has_value()) return line;
    }
    HMVM_TRY_ASSIGN(const bool more, lines_.Read(fd_, "log file"));
    if (!more) return std::optional<LogLine>();
  }
}

}  // namespace hmvm
