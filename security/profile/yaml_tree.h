// A YAML document of anybody's, as a tree with the place of everything in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hmvm {

// From 1, as editors count.
struct YamlPlace {
  int line = 1;
  int column = 1;
};

struct YamlNode {
  enum class Kind { kNothing, kScalar, kList, kMap };
  Kind kind = Kind::kNothing;
  YamlPlace place;
  std::string text;                // of a scalar
  std::vector<YamlNode> children;  // of a list; of a map its keys, which are scalars, and values by turns
};

// "FILE:LINE:COLUMN: what": how errors in files begin.
Error YamlError(const std::string& file, const YamlPlace& place, const std::string& what);

inline constexpr size_t kMaxYamlBytes = 64 << 10;
inline constexpr int kMaxYamlDepth = 16;

// One document. Refused with the place: what is no YAML; anchors, aliases and tags, which nobody needs here
// and which can make much of little; keys that are no scalars, or twice there; more than the limits.
Result<YamlNode> ParseYaml(const std::string& file, std::string_view text);

}  // namespace hmvm
