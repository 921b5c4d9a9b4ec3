#include "base/nearest.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace hmvm {
namespace {

// Of a name longer than any that is known, nobody expects a guess.
constexpr size_t kLongest = 64;

// How many bytes to insert, remove or replace to come from one to the other (Levenshtein).
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

// Whether somebody left the end of the word out, or another at it.
bool BeginsLike(std::string_view name, std::string_view candidate) {
  const auto [end, other] = std::ranges::mismatch(name, candidate);
  return 3 * static_cast<size_t>(end - name.begin()) >= 2 * name.size() && name.size() > 3;
}

}  // namespace

std::string DidYouMean(std::string_view name, std::span<const std::string_view> known) {
  if (name.empty() || name.size() > kLongest) return "";
  std::string_view nearest;
  size_t least = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance =
        std::min(Distance(name, candidate), BeginsLike(name, candidate) ? size_t{2} : SIZE_MAX);
    if (distance < least && distance < candidate.size()) {
      least = distance;
      nearest = candidate;
    }
  }
  if (nearest.empty()) return "";
  return "; did you mean '" + std::string(nearest) + "'?";
}

}  // namespace hmvm
