#include "images/digest.h"

#include <algorithm>

#include "base/escape.h"

namespace hmvm {

Result<Digest> Digest::Parse(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 64 ||
      !std::all_of(text.begin() + kPrefix.size(), text.end(), is_hex)) {
    return Error{0, "'" + Escape(text, 100) + "' is not a sha256 digest"};
  }
  return Digest{std::string(text.substr(kPrefix.size()))};
}

}  // namespace hmvm
