#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace hmvm {

// So many characters of an id are enough for people.
constexpr size_t kShortId = 12;

// Rows of text under headings, each column as wide as its widest cell, three spaces between. A cell may come
// from anybody, as the names in a snapshot of another host: no character of it controls the terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) { rows_.push_back(std::move(headings)); }
  void Add(std::vector<std::string> cells);
  std::string Format() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "5 seconds", "about a minute", "3 hours": for people.
std::string FormatAge(int64_t age_ns);

// Arguments as one line, those with blanks in quotes, cut after `limit` characters.
std::string FormatCommand(const std::vector<std::string>& args, size_t limit);

// Any bytes as JSON text, a line: what is no UTF-8 is replaced.
std::string FormatJson(const nlohmann::ordered_json& value);

}  // namespace hmvm
