// For g++: exceptions through many frames and out of threads, the standard library's containers, text and
// regular expressions.
#include <algorithm>
#include <future>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Counted {
  explicit Counted(int* count) : count(count) { ++*count; }
  ~Counted() { --*count; }
  int* count;
};

int Sink(int depth, int* alive) {
  const Counted local(alive);
  if (depth == 0) throw std::runtime_error("the bottom, " + std::to_string(*alive) + " alive");
  return Sink(depth - 1, alive) + 1;
}

}  // namespace

int main() {
  int alive = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      Sink(50, &alive);
    } catch (const std::exception& error) {
      if (i == 199) std::cout << error.what() << ", then " << alive << "\n";
    }
  }

  std::vector<std::future<long>> results;
  for (int i = 0; i < 8; ++i) {
    results.push_back(std::async(std::launch::async, [i]() -> long {
      if (i == 5) throw std::out_of_range("of thread " + std::to_string(i));
      std::vector<long> numbers(100000);
      std::iota(numbers.begin(), numbers.end(), i);
      std::sort(numbers.begin(), numbers.end(),
                [](long a, long b) { return a * 7919 % 10007 < b * 7919 % 10007; });
      return std::accumulate(numbers.begin(), numbers.begin() + 1000, 0L);
    }));
  }
  for (auto& result : results) {
    try {
      std::cout << result.get() << " ";
    } catch (const std::out_of_range& error) {
      std::cout << "[" << error.what() << "] ";
    }
  }

  std::map<std::string, int> words;
  std::istringstream text("to be or not to be that is the question whether tis nobler in the mind to suffer");
  for (std::string word; text >> word;) ++words[word];
  for (const auto& [word, count] : words)
    if (count > 1) std::cout << word << "=" << count << " ";
  const std::regex pattern("(\\w)(\\w*)(\\w)");
  std::cout << std::regex_replace("swap the ends of words", pattern, "$3$2$1") << "\n"
            << std::setprecision(17) << std::hexfloat << 1.0 / 3 << " " << std::defaultfloat << 2.0 / 3
            << "\n";
}
