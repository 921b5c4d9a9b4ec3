#include "runtime/container/duration.h"

#include <time.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <string>

namespace hmvm {
namespace {

struct Unit {
  std::string_view name;
  double ns;
};
// Those whose names begin alike: the longer one first.
constexpr Unit kUnits[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"h", 3600e9}, {"m", 60e9}, {"s", 1e9}};

// Far from what would not fit, and more than anybody waits: 100 years.
constexpr double kLongestNs = 100.0 * 365 * 24 * 3600e9;

std::optional<double> TakeNumber(std::string_view& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (code != std::errc() || text.front() == '-' || !std::isfinite(value)) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  return value;
}

std::optional<double> TakeUnit(std::string_view& text) {
  for (const Unit& unit : kUnits) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    return unit.ns;
  }
  return std::nullopt;
}

std::optional<double> DurationNs(std::string_view text) {
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    const auto number = TakeNumber(text);
    if (!number.has_value()) return std::nullopt;
    const auto unit = TakeUnit(text);
    if (!unit.has_value()) return std::nullopt;
    total += *number * *unit;
    if (total > kLongestNs) return std::nullopt;
  }
  return total;
}

// "2026-01-02T03:04:05", a fraction, "Z" or an offset.
std::optional<int64_t> Rfc3339Ns(const std::string& text) {
  tm fields = {};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
  if (rest == nullptr) return std::nullopt;
  std::string_view left = std::string_view(text).substr(static_cast<size_t>(rest - text.c_str()));
  double fraction = 0;
  if (left.starts_with(".")) {
    const auto taken = TakeNumber(left);
    if (!taken.has_value()) return std::nullopt;
    fraction = *taken;
  }
  int64_t offset_s = 0;
  if (left != "Z") {
    tm offset = {};
    const std::string digits(left.substr(left.empty() ? 0 : 1));
    if (left.size() != 6 || (left[0] != '+' && left[0] != '-')) return std::nullopt;
    rest = ::strptime(digits.c_str(), "%H:%M", &offset);
    if (rest == nullptr || *rest != '\0') return std::nullopt;
    offset_s = (left[0] == '-' ? -1 : 1) * (offset.tm_hour * 3600 + offset.tm_min * 60);
  }
  return (int64_t{::timegm(&fields)} - offset_s) * 1'000'000'000 + static_cast<int64_t>(fraction * 1e9);
}

}  // namespace

Result<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  if (const auto ns = DurationNs(text)) return std::chrono::nanoseconds(static_cast<int64_t>(*ns));
  return Error{0, "duration '" + std::string(text) + "': write it like 1h30m, 90s or 500ms"};
}

Result<int64_t> ParseMoment(std::string_view text, int64_t now_unix_ns) {
  if (const auto ago = DurationNs(text)) return now_unix_ns - static_cast<int64_t>(*ago);
  if (const auto moment = Rfc3339Ns(std::string(text))) return *moment;
  std::string_view rest = text;
  const auto seconds = rest.empty() ? std::nullopt : TakeNumber(rest);
  if (seconds.has_value() && rest.empty() && *seconds < kLongestNs / 1e9) {
    return static_cast<int64_t>(*seconds * 1e9);
  }
  return Error{0, "time '" + std::string(text) +
                      "': write it like 2026-01-02T03:04:05Z, 10m (so long ago) or as seconds since 1970"};
}

}  // namespace hmvm
