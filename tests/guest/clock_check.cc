// Tells CLOCK_REALTIME, CLOCK_MONOTONIC and CLOCK_BOOTTIME, in ns, upon each line of standard input.
#include <time.h>

#include <cstdint>
#include <cstdio>

namespace {

int64_t Now(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  for (int c = getchar(); c != EOF; c = getchar()) {
    if (c != '\n') continue;
    printf("%lld %lld %lld\n", static_cast<long long>(Now(CLOCK_REALTIME)),
           static_cast<long long>(Now(CLOCK_MONOTONIC)), static_cast<long long>(Now(CLOCK_BOOTTIME)));
  }
}
