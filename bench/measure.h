// What all benches share: samples and their summary, processor time of a process, and a line about the
// machine.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace hmvm::bench {

// What each bench is; `arguments` are those that are no flags. Called by the one main().
void Main(const std::vector<std::string>& arguments);

int64_t MonotonicNs();

// Times on processors of all threads of a process so far, in nanoseconds; 0 once it has gone.
int64_t CpuTimeNs(pid_t pid);

// One measured quantity. Values are kept as they came; the summary sorts a copy.
class Series {
 public:
  Series(std::string name, std::string unit) : name_(std::move(name)), unit_(std::move(unit)) {}
  void Add(double value) { values_.push_back(value); }
  const std::string& name() const { return name_; }
  size_t count() const { return values_.size(); }
  // Nearest rank: with few values the 99th percentile is the greatest.
  double Percentile(double percent) const;
  double Median() const { return Percentile(50); }

 private:
  friend void PrintTable(const std::vector<const Series*>& table);
  std::string name_;
  std::string unit_;
  std::vector<double> values_;
};

// Date, processors, kernel, memory, whether KVM is there, and load: without them a number means nothing.
void PrintMachine(const std::string& bench);
// One row a series: N, least, median, p99, and the median's ratio to the first row of the same unit.
void PrintTable(const std::vector<const Series*>& table);

// From now on SIGINT and SIGTERM end the bench at its next line of progress, where what is static is
// destroyed and so cleans up; the second one at once.
void EndOnSignals();

// A line of progress on standard error, overwritten by the next on a terminal. Before each round, while there
// is nothing that only a local variable would clean up.
void Progress(const std::string& text);

// Ends the bench with one line and exit code 1.
[[noreturn]] void Fail(const std::string& message);

}  // namespace hmvm::bench
