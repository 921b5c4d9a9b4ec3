// An operation that is measured, and what all of them are made with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace hmvm::bench {

struct Sample {
  int64_t ns = 0;           // of all its operations together
  unsigned operations = 1;  // several where one is too short for the clock
};

struct Operation {
  std::string name;
  unsigned samples;  // to take, unless the command line wants fewer
  // Makes what the operation needs. The result takes one sample, and undoes all when it is destroyed.
  std::function<std::function<Sample()>()> prepare;
};

std::vector<Operation> KernelOperations();   // system calls and switches between threads
std::vector<Operation> MemoryOperations();   // mappings and page faults
std::vector<Operation> ProcessOperations();  // from a thread to a program
std::vector<Operation> CommandOperations();  // what users run

// Times `operation`, done `operations` times.
template <typename Function>
Sample TimeOf(unsigned operations, Function operation);

// An operation that needs nothing prepared.
template <typename Function>
Operation Plain(std::string name, unsigned samples, unsigned per_sample, Function operation);

// Starts a program (found by PATH), our environment and descriptors its own, by vfork(2).
pid_t StartProgram(const std::vector<std::string>& arguments);
// And waits for it; ends the bench unless it exits with 0.
void RunProgram(const std::vector<std::string>& arguments);

// Ends the bench with one line, errno's words included.
[[noreturn]] void Fail(const std::string& what);
// For calls that return -1 and set errno.
template <typename Number>
Number Check(Number result, const char* what);

int64_t NowNs();

// --- templates

template <typename Function>
Sample TimeOf(unsigned operations, Function operation) {
  const int64_t start_ns = NowNs();
  for (unsigned i = 0; i < operations; ++i) operation();
  return {NowNs() - start_ns, operations};
}

template <typename Function>
Operation Plain(std::string name, unsigned samples, unsigned per_sample, Function operation) {
  return {std::move(name), samples, [=] { return [=] { return TimeOf(per_sample, operation); }; }};
}

template <typename Number>
Number Check(Number result, const char* what) {
  if (result == static_cast<Number>(-1)) Fail(what);
  return result;
}

}  // namespace hmvm::bench
