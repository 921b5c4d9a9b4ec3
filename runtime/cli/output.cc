#include "runtime/cli/output.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/escape.h"

namespace hmvm {

void Table::Add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = OneLine(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Format() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] - row[i].size() + 3, ' ');
    }
    text += '\n';
  }
  return text;
}

std::string FormatAge(int64_t age_ns) {
  const int64_t seconds = age_ns / 1'000'000'000;
  if (seconds < 1) return "less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return std::to_string(seconds) + " seconds";
  if (seconds < 120) return "about a minute";
  if (seconds < 3600) return std::to_string(seconds / 60) + " minutes";
  if (seconds < 7200) return "about an hour";
  if (seconds < 48 * 3600) return std::to_string(seconds / 3600) + " hours";
  return std::to_string(seconds / (24 * 3600)) + " days";
}

std::string FormatCommand(const std::vector<std::string>& args, size_t limit) {
  std::string line;
  for (const std::string& argument : args) {
    if (!line.empty()) line += ' ';
    const bool quoted = argument.empty() || argument.find_first_of(" \t\n") != std::string::npos;
    line += quoted ? "'" + argument + "'" : argument;
    if (line.size() > limit) break;
  }
  return Escape(line, limit);
}

std::string FormatJson(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace hmvm
