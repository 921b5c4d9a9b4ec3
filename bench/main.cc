// The beginning of every bench.
#include <gflags/gflags.h>

#include "bench/measure.h"

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  hmvm::bench::Main({argv + 1, argv + argc});
}
