#include "security/guard/audit_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <optional>

#include <nlohmann/json.hpp>
#include <openssl/sha.h>

#include "base/file.h"
#include "base/folder.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLineBytes = 64 << 10;
constexpr size_t kMaxHeadBytes = 4096;
constexpr uint64_t kMaxLogBytes = uint64_t{1} << 30;

std::string HeadPathIn(const std::string& folder) { return folder + "/audit.head"; }

std::string Sha256(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

struct Head {
  uint64_t lines = 0;
  std::string last = std::string(size_t{2} * SHA256_DIGEST_LENGTH, '0');
  uint64_t bytes = 0;  // of the log up to here

  std::string Encode() const {
    return ordered_json({{"lines", lines}, {"last", last}, {"bytes", bytes}}).dump() + "\n";
  }
  void Take(std::string_view line) {
    ++lines;
    last = Sha256(line);
    bytes += line.size() + 1;
  }
};

std::optional<Head> DecodeHead(std::string_view text) {
  const auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("lines") || !json.contains("last") || !json.contains("bytes")) {
    return std::nullopt;
  }
  if (!json["lines"].is_number_unsigned() || !json["last"].is_string() ||
      !json["bytes"].is_number_unsigned()) {
    return std::nullopt;
  }
  return Head{json["lines"].get<uint64_t>(), json["last"].get<std::string>(), json["bytes"].get<uint64_t>()};
}

// Why the line does not follow; empty: it does.
std::string WhyWrong(std::string_view line, const Head& before) {
  if (line.size() > kMaxLineBytes) return "is too long";
  const auto json = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "is not a JSON object";
  const auto number = json.find("line");
  const auto previous = json.find("previous");
  if (number == json.end() || !number->is_number_unsigned() || previous == json.end() ||
      !previous->is_string()) {
    return "has no \"line\" or no \"previous\"";
  }
  if (number->get<uint64_t>() != before.lines + 1) {
    return "says that it is line " + std::to_string(number->get<uint64_t>()) +
           ": lines were cut out, added or moved";
  }
  if (previous->get<std::string>() != before.last) {
    return before.lines == 0 ? "does not begin the chain"
                             : "does not fit the line before it, which was changed";
  }
  return "";
}

std::string Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc = {};
  ::gmtime_r(&now.tv_sec, &utc);
  char text[40];
  const size_t length = ::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  return std::string(text, length) + "." + std::to_string(1'000'000'000 + now.tv_nsec).substr(1) + "Z";
}

// The file is never empty in between: shorter text would leave a rest, which is cut off after.
Result<> Overwrite(const UniqueFd& file, const std::string& path, std::string_view text) {
  const ssize_t put = ::pwrite(file.get(), text.data(), text.size(), 0);
  if (put != static_cast<ssize_t>(text.size()) || ::ftruncate(file.get(), put) < 0) {
    return Error{errno, "write to '" + path + "'"};
  }
  return {};
}

// What a writer that was killed left behind the head: a whole line is taken into it, a part of one is cut
// off. Anything else stays for VerifyAuditLog to find.
Result<> TakeIn(const UniqueFd& file, const std::string& path, Head& head) {
  HMVM_TRY_ASSIGN(const uint64_t size, FileSize(file.get(), path));
  if (size <= head.bytes || size - head.bytes > kMaxLineBytes) return {};
  std::string rest(size - head.bytes, '\0');
  if (::pread(file.get(), rest.data(), rest.size(), static_cast<off_t>(head.bytes)) !=
      static_cast<ssize_t>(rest.size())) {
    return Error{errno, "read '" + path + "'"};
  }
  const size_t newline = rest.find('\n');
  if (newline == std::string::npos) {
    if (::ftruncate(file.get(), static_cast<off_t>(head.bytes)) < 0)
      return Error{errno, "cut '" + path + "'"};
  } else if (newline + 1 == rest.size() && WhyWrong(rest.substr(0, newline), head).empty()) {
    head.Take(std::string_view(rest).substr(0, newline));
  }
  return {};
}

}  // namespace

Result<AuditLog> AuditLog::Open(const std::string& folder) {
  HMVM_TRY(MakePrivateFolder(folder));
  return AuditLog(folder);
}

Result<> AuditLog::Append(const ordered_json& fields) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, OpenFile(folder_, O_RDONLY | O_DIRECTORY));
  while (::flock(lock.get(), LOCK_EX) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + folder_ + "'"};
  }
  const std::string path = PathIn(folder_);
  const std::string head_path = HeadPathIn(folder_);
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_APPEND, 0600));
  HMVM_TRY_ASSIGN(const UniqueFd head_file, OpenFile(head_path, O_RDWR | O_CREAT, 0600));
  HMVM_TRY_ASSIGN(const std::string head_text, ReadFile(head_path, kMaxHeadBytes));
  Head head = DecodeHead(head_text).value_or(Head());
  HMVM_TRY(TakeIn(file, path, head));
  ordered_json line = {{"line", head.lines + 1}, {"time", Now()}};
  line.update(fields);
  line["previous"] = head.last;
  const std::string text = line.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  if (text.size() > kMaxLineBytes)
    return Error{EMSGSIZE, "audit line of " + std::to_string(text.size()) + " bytes"};
  HMVM_TRY_ASSIGN(const uint64_t size, FileSize(file.get(), path));
  auto written = WriteAll(file.get(), text + "\n");
  if (written.has_value() && ::fdatasync(file.get()) < 0) written = Error{errno, "sync"};
  if (!written.has_value()) {
    (void)!::ftruncate(file.get(), static_cast<off_t>(size));  // half a line is nobody's
    return Error{written.error().code, "write to '" + path + "'"};
  }
  head.Take(text);
  head.bytes = size + text.size() + 1;  // also behind a tail that somebody cut off or added
  return Overwrite(head_file, head_path, head.Encode());
}

AuditVerdict VerifyAuditText(std::string_view text, const std::string* head_text) {
  Head at;
  Head known;
  if (head_text != nullptr) {
    auto head = DecodeHead(*head_text);
    if (!head.has_value())
      return {.last = at.last, .problem = "line 1: the log's head is missing or damaged"};
    known = std::move(*head);
  }
  std::string last_at_head = known.lines == 0 ? at.last : "";
  const auto verdict = [&](const std::string& problem) {
    return AuditVerdict{at.lines, at.last,
                        problem.empty() ? "" : "line " + std::to_string(at.lines + 1) + ": " + problem};
  };
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    if (newline == std::string_view::npos) {
      // Begun by a writer that was killed: it is not in the head, nor can anything follow it.
      if (head_text != nullptr && at.lines == known.lines) break;
      return verdict("is cut off");
    }
    const std::string_view line = text.substr(0, newline);
    if (const std::string why = WhyWrong(line, at); !why.empty()) return verdict(why);
    at.Take(line);
    if (at.lines == known.lines) last_at_head = at.last;
    text.remove_prefix(newline + 1);
  }
  if (head_text == nullptr) return verdict("");
  if (at.lines < known.lines) {
    return verdict("is missing: the log's head knows of " + std::to_string(known.lines));
  }
  if (last_at_head != known.last) return verdict("the line before it was changed");
  if (at.lines > known.lines + 1) return verdict("the log's head does not know of the last lines");
  return verdict("");
}

Result<AuditVerdict> VerifyAuditLog(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
  HMVM_TRY_ASSIGN(const UniqueFd lock, OpenFile(folder.empty() ? "/" : folder, O_RDONLY | O_DIRECTORY));
  while (::flock(lock.get(), LOCK_SH) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + folder + "'"};
  }
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(path, kMaxLogBytes));
  const auto head = ReadFile(HeadPathIn(folder), kMaxHeadBytes);
  const std::string head_text = head.has_value() ? *head : "";
  return VerifyAuditText(text, &head_text);
}

}  // namespace hmvm
