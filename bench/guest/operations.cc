// operations [SAMPLES [NAME...]]: takes at most SAMPLES samples of each operation, or of those named, and
// prints them. Static, so that the same file runs in any container. For each operation
//   ready NAME                              is printed; a byte of standard input (or its end) starts the work
//   NAME<tab>OPERATIONS<tab>NS NS NS ...    is printed: all operations done, and nanoseconds for one, a
//   sample each
// so that who started it can look at counters in between.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "bench/guest/operation.h"

namespace hmvm::bench {

int64_t NowNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void Fail(const std::string& what) {
  std::fprintf(stderr, "operations: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

pid_t StartProgram(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  const pid_t child = Check(::vfork(), "vfork");
  if (child == 0) {
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  return child;
}

void RunProgram(const std::vector<std::string>& arguments) {
  const pid_t child = StartProgram(arguments);
  int status = 0;
  ::waitpid(child, &status, 0);
  errno = 0;
  if (status != 0) Fail("'" + arguments[0] + "' ended with status " + std::to_string(status));
}

namespace {

// Programs that are run get /dev/null as standard output; this is where ours goes.
FILE* KeepOutput() {
  const int out = Check(::fcntl(1, F_DUPFD_CLOEXEC, 3), "standard output");
  Check(::dup2(Check(::open("/dev/null", O_WRONLY | O_CLOEXEC), "/dev/null"), 1), "dup2");
  return ::fdopen(out, "w");
}

void Measure(const Operation& operation, unsigned samples, FILE* out) {
  const std::function<Sample()> take = operation.prepare();
  for (unsigned i = 0; i < 1 + samples / 10; ++i) take();  // to warm up
  std::fprintf(out, "ready %s\n", operation.name.c_str());
  std::fflush(out);
  char byte;
  (void)!::read(0, &byte, 1);
  std::vector<Sample> taken(samples);
  for (Sample& sample : taken) sample = take();
  unsigned operations = 0;
  for (const Sample& sample : taken) operations += sample.operations;
  std::fprintf(out, "%s\t%u\t", operation.name.c_str(), operations);
  for (const Sample& sample : taken)
    std::fprintf(out, "%.1f ", static_cast<double>(sample.ns) / sample.operations);
  std::fprintf(out, "\n");
  std::fflush(out);
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "nothing") == 0)
    return 0;  // the static program that an operation runs
  const unsigned most = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : UINT_MAX;
  FILE* const out = KeepOutput();
  for (const auto& group : {KernelOperations, MemoryOperations, ProcessOperations, CommandOperations}) {
    for (const Operation& operation : group()) {
      const bool wanted = argc <= 2 || std::any_of(argv + 2, argv + argc,
                                                   [&](const char* name) { return operation.name == name; });
      if (wanted) Measure(operation, std::min(most, operation.samples), out);
    }
  }
  return 0;
}

}  // namespace
}  // namespace hmvm::bench

int main(int argc, char** argv) { return hmvm::bench::Main(argc, argv); }
