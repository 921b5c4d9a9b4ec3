#include "bench/measure.h"

#include <signal.h>

#include <cstdio>

#include <gtest/gtest.h>

namespace hmvm::bench {
namespace {

struct Cleaner {
  ~Cleaner() { std::fputs("cleaned up\n", stderr); }
};

void BeEndedBy(int signal) {
  EndOnSignals();
  static const Cleaner cleaner;
  ::raise(signal);
  std::fputs("went on, then ", stderr);
  Progress("next round");
}

TEST(MeasureDeathTest, SignalEndsItAtTheNextLineOfProgressWhereItCleansUp) {
  for (const int signal : {SIGINT, SIGTERM}) {
    EXPECT_EXIT(BeEndedBy(signal), testing::ExitedWithCode(128 + signal), "^went on, then cleaned up\n$");
  }
}

TEST(MeasureDeathTest, SecondSignalEndsItAtOnce) {
  const auto twice = [] {
    EndOnSignals();
    for (int i = 0; i < 2; ++i) ::raise(SIGTERM);
  };

  EXPECT_EXIT(twice(), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace hmvm::bench
