#include "bench/svg.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "bench/measure.h"

namespace hmvm::bench {
namespace {

constexpr const char* kColours[] = {"#4878a8", "#e8a33d", "#5fa55a", "#c9553f",
                                    "#8268a8", "#7f8c8d", "#3aa6a6", "#d184b0"};
constexpr double kLeft = 190, kWidth = 640, kBarHeight = 26, kStep = 44, kTop = 48;

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), value < 9.95 ? "%.1f" : "%.0f", value);
  return text;
}

std::string Text(double x, double y, const std::string& text, const std::string& style) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" " + style + ">" + text + "</text>\n";
}

}  // namespace

void WriteStackedBars(const std::string& path, const std::string& title, const std::string& unit,
                      const std::vector<StackedBar>& bars) {
  double longest = 0;
  std::vector<std::string> names;
  for (const StackedBar& bar : bars) {
    double sum = 0;
    for (const auto& [name, value] : bar.parts) {
      sum += value;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    longest = std::max(longest, sum);
  }
  const double scale = longest > 0 ? kWidth / longest : 0;
  const double legend = kTop + kStep * static_cast<double>(bars.size()) + 10;
  const double height = legend + 20 * static_cast<double>((names.size() + 2) / 3) + 10;
  std::ofstream svg(path);
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"" << height
      << "\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" "
         "fill=\"white\"/>\n"
      << Text(10, 24, title, "font-size=\"16\"");
  double y = kTop;
  for (const StackedBar& bar : bars) {
    double x = kLeft, sum = 0;
    svg << Text(kLeft - 8, y + 18, bar.name, "text-anchor=\"end\"");
    for (const auto& [name, value] : bar.parts) {
      const auto colour = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      svg << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << value * scale << "\" height=\""
          << kBarHeight << "\" fill=\"" << kColours[colour % std::size(kColours)] << "\"/>\n";
      if (value * scale > 24) {
        svg << Text(x + value * scale / 2, y + 18, Number(value), "text-anchor=\"middle\" fill=\"white\"");
      }
      x += value * scale;
      sum += value;
    }
    svg << Text(x + 6, y + 18, Number(sum) + " " + unit, "");
    y += kStep;
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const double x = 10 + 295 * static_cast<double>(i % 3);
    const double row = legend + 20 * static_cast<double>(i / 3);
    svg << "<rect x=\"" << x << "\" y=\"" << row << "\" width=\"12\" height=\"12\" fill=\""
        << kColours[i % std::size(kColours)] << "\"/>\n"
        << Text(x + 18, row + 11, names[i], "");
  }
  svg << "</svg>\n";
  if (!svg.flush()) Fail("can't write '" + path + "'");
}

}  // namespace hmvm::bench
