// Pictures of figures, for docs/.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hmvm::bench {

struct StackedBar {
  std::string name;
  std::vector<std::pair<std::string, double>> parts;  // of one unit, in the order of their place
};

// Writes horizontal bars, each of its parts with its figure, beside a legend. A part's name has one colour in
// all bars.
void WriteStackedBars(const std::string& path, const std::string& title, const std::string& unit,
                      const std::vector<StackedBar>& bars);

}  // namespace hmvm::bench
