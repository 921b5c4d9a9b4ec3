#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm {

// A SHA-256 content address, the one algorithm that images in the wild use.
struct Digest {
  std::string hex;  // 64 lower-case digits: safe as a file name

  // "sha256:" and 64 lower-case digits; anything else is an error that shows the text.
  static Result<Digest> Parse(std::string_view text);
  std::string text() const { return "sha256:" + hex; }
  bool operator==(const Digest&) const = default;
};

}  // namespace hmvm
