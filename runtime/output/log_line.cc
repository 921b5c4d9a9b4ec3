#include "runtime/output/log_line.h"

#include <time.h>

#include <array>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace hmvm {
namespace {

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The length of the UTF-8 sequence (Unicode 15, table 3-7) at the front of `bytes`; 0 when there is none.
size_t Utf8Length(std::string_view bytes) {
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < bytes.size() && static_cast<unsigned char>(bytes[i]) >= low &&
           static_cast<unsigned char>(bytes[i]) <= high;
  };
  const unsigned lead = static_cast<unsigned char>(bytes[0]);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    return continues(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool second = continues(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf);
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

void AppendEscape(unsigned char c, std::string& out) {
  switch (c) {
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    default: {
      char text[8];
      std::snprintf(text, sizeof(text), "\\u%04x", static_cast<unsigned>(c));
      out += text;
    }
  }
}

// False, with `out` in any state, when the bytes are not UTF-8 or grow beyond what base64 would need.
bool AppendText(std::string_view bytes, std::string& out) {
  const size_t limit = out.size() + bytes.size() + bytes.size() / 3 + 64;
  while (!bytes.empty()) {
    size_t plain = 0;
    while (plain < bytes.size()) {
      const auto c = static_cast<unsigned char>(bytes[plain]);
      if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') break;
      ++plain;
    }
    out.append(bytes.substr(0, plain));
    bytes.remove_prefix(plain);
    if (bytes.empty()) break;
    const size_t length = Utf8Length(bytes);
    if (length == 0 || out.size() > limit) return false;
    if (length == 1) {
      AppendEscape(static_cast<unsigned char>(bytes[0]), out);
    } else {
      out.append(bytes.substr(0, length));
    }
    bytes.remove_prefix(length);
  }
  return true;
}

void AppendBase64(std::string_view bytes, std::string& out) {
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kBase64[group >> (18 - 6 * j) & 63] : '=';
  }
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  static const std::array<int, 256> kValues = [] {
    std::array<int, 256> values;
    values.fill(-1);
    for (int i = 0; i < 64; ++i) values[static_cast<unsigned char>(kBase64[i])] = i;
    return values;
  }();
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned group = 0;
  int bits = 0;
  for (const char c : text) {
    const int value = kValues[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    group = group << 6 | static_cast<unsigned>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(group >> bits & 0xff);
    }
  }
  return bytes;
}

}  // namespace

std::string FormatTime(int64_t unix_ns) {
  const time_t seconds = unix_ns / 1'000'000'000;
  tm utc = {};
  ::gmtime_r(&seconds, &utc);
  char date[32];
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
  char text[64];
  std::snprintf(text, sizeof(text), "%s.%09dZ", date, static_cast<int>(unix_ns % 1'000'000'000));
  return text;
}

void AppendLogLine(OutputStream stream, std::string_view bytes, std::string_view time, std::string& out) {
  const size_t begin = out.size();
  out += "{\"log\":\"";
  if (!AppendText(bytes, out)) {
    out.resize(begin);
    out += "{\"base64\":\"";
    AppendBase64(bytes, out);
  }
  out += stream == OutputStream::kStdout ? "\",\"stream\":\"stdout\",\"time\":\""
                                         : "\",\"stream\":\"stderr\",\"time\":\"";
  out += time;
  out += "\"}\n";
}

std::optional<LogLine> DecodeLogLine(std::string_view text) {
  const auto line = nlohmann::json::parse(text, nullptr, false);
  if (!line.is_object()) return std::nullopt;
  const auto get = [&](const char* key) -> std::optional<std::string> {
    const auto found = line.find(key);
    if (found == line.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
  };
  const auto stream = get("stream");
  const auto time = get("time");
  auto bytes = get("log");
  if (const auto base64 = get("base64"); !bytes.has_value() && base64.has_value())
    bytes = DecodeBase64(*base64);
  if (!bytes.has_value() || !time.has_value() || (stream != "stdout" && stream != "stderr"))
    return std::nullopt;
  return LogLine{.stream = stream == "stdout" ? OutputStream::kStdout : OutputStream::kStderr,
                 .bytes = std::move(*bytes),
                 .time = *time};
}

}  // namespace hmvm
