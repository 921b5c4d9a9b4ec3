// The beginning of every bench.
#include <cstdio>

#include <gflags/gflags.h>

#include "bench/measure.h"

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a line is seen when it is there, also in a file or a pipe
  hmvm::bench::EndOnSignals();
  hmvm::bench::Main({argv + 1, argv + argc});
}
