#include "base/size.h"

#include <charconv>
#include <cstdio>
#include <iterator>

namespace hmvm {

Result<uint64_t> ParseSize(std::string_view text) {
  const Error error{
      0, "size '" + std::string(text) + "' is not a whole number with an optional suffix b, k, m or g"};
  int shift = 0;
  std::string_view digits = text;
  if (digits.size() > 1 && (digits.back() == 'b' || digits.back() == 'B') &&
      std::string_view("kKmMgG").find(digits[digits.size() - 2]) != std::string_view::npos) {
    digits.remove_suffix(1);
  }
  if (!digits.empty()) {
    switch (digits.back()) {
      case 'g':
      case 'G':
        shift += 10;
        [[fallthrough]];
      case 'm':
      case 'M':
        shift += 10;
        [[fallthrough]];
      case 'k':
      case 'K':
        shift += 10;
        [[fallthrough]];
      case 'b':
      case 'B':
        digits.remove_suffix(1);
    }
  }
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || code != std::errc() || end != digits.data() + digits.size()) return error;
  if (value > UINT64_MAX >> shift) return Error{0, "size '" + std::string(text) + "' is too large"};
  return value << shift;
}

std::string FormatSize(uint64_t size_bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double value = static_cast<double>(size_bytes);
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = value == static_cast<double>(static_cast<uint64_t>(value));
  std::snprintf(text, sizeof(text), whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace hmvm
