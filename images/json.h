// The one edge where nlohmann's exceptions end, and the rules that all JSON input must keep.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/escape.h"
#include "base/result.h"

namespace hmvm {

// Parses `text` and gives it to `read`, which may use nlohmann's throwing accessors. Refused before that:
// nesting beyond 64 levels and NUL bytes within strings (they end up in argv, environment and paths).
template <typename Read>
auto ReadJson(std::string_view text, const std::string& what, Read&& read)
    -> decltype(read(std::declval<const nlohmann::json&>())) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  bool has_nul = false;
  const auto check = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json& value) {
    too_deep = too_deep || depth > kMaxDepth;
    has_nul =
        has_nul || (value.is_string() && value.get_ref<const std::string&>().find('\0') != std::string::npos);
    return !too_deep && !has_nul;  // false drops the value: memory stays bounded
  };
  try {
    const nlohmann::json document = nlohmann::json::parse(text, check);
    if (too_deep) return Error{0, what + " is nested too deeply"};
    if (has_nul) return Error{0, what + " has a NUL byte in a string"};
    return read(document);
  } catch (const nlohmann::json::exception& error) {
    return Error{0, what + " is malformed: " + Escape(error.what())};
  }
}

// The member `key`, or an empty T where it is absent or null. Throws nlohmann's type_error for another type,
// or where `object` is none.
template <typename T>
T Member(const nlohmann::json& object, const char* key) {
  const auto& members = object.get_ref<const nlohmann::json::object_t&>();
  const auto found = members.find(key);
  if (found == members.end() || found->second.is_null()) return T{};
  return found->second.template get<T>();
}

}  // namespace hmvm
