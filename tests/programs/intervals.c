// Timers of all clocks, by signal and by file descriptor: which ring, in which order, how often at least. No
// time is printed: what is late on a busy machine is not wrong, what is early or never comes is.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t rings, last;

static void OnSignal(int number, siginfo_t* info, void* context) {
  (void)context;
  ++rings;
  last = info->si_code == SI_TIMER ? info->si_value.sival_int : number;
}

static int64_t Ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Uses the processor, in the program and in the kernel, until `count` signals have come.
static void ComputeUntil(int count) {
  while (rings < count) getppid();
}

// The clock may not say less than what the timer was set to.
static void PosixTimer(const char* name, clockid_t clock) {
  enum { kRings = 5, kNs = 3000000 };
  timer_t timer;
  struct sigevent event = {
      .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 42};
  if (timer_create(clock, &event, &timer) != 0) {
    printf("%s: %s\n", name, strerror(errno));
    return;
  }
  const struct itimerspec every = {.it_value.tv_nsec = kNs, .it_interval.tv_nsec = kNs};
  rings = last = 0;
  const int64_t start = Ns(clock);
  timer_settime(timer, 0, &every, NULL);
  ComputeUntil(kRings);
  const int64_t passed = Ns(clock) - start;
  struct itimerspec left;
  timer_gettime(timer, &left);
  printf("%s: value %d, %s, runs on %d\n", name, (int)last,
         passed >= (int64_t)kRings * kNs ? "in time" : "early",
         left.it_interval.tv_nsec == kNs && left.it_value.tv_nsec <= kNs);
  timer_delete(timer);
  printf("  gone: %d\n", timer_gettime(timer, &left) == -1 && errno == EINVAL);
}

static void IntervalTimer(const char* name, int which, clockid_t clock, int number) {
  enum { kRings = 5, kUs = 20000 };
  const struct itimerval every = {.it_value.tv_usec = kUs, .it_interval.tv_usec = kUs}, off = {0};
  struct itimerval left;
  rings = last = 0;
  const int64_t start = Ns(clock);
  setitimer(which, &every, NULL);
  ComputeUntil(kRings);
  const int64_t passed = Ns(clock) - start;
  setitimer(which, &off, &left);
  // The kernel counts a program's time for these by ticks: one may be missing at the start.
  printf("%s: its signal %d, %s, interval kept %d\n", name, last == number,
         passed >= (int64_t)(kRings - 1) * kUs * 1000 ? "in time" : "early", left.it_interval.tv_usec == kUs);
  getitimer(which, &left);
  printf("  off: %d\n", left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0);
}

static void Descriptor(const char* name, clockid_t clock) {
  const int fd = timerfd_create(clock, TFD_NONBLOCK);
  uint64_t count = 0;
  printf("%s: before %d", name, read(fd, &count, sizeof(count)) == -1 && errno == EAGAIN);
  const struct itimerspec every = {.it_value.tv_nsec = 2000000, .it_interval.tv_nsec = 2000000};
  timerfd_settime(fd, 0, &every, NULL);
  const struct timespec while_it_rings = {.tv_nsec = 21000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &while_it_rings, NULL);
  struct pollfd poller = {.fd = fd, .events = POLLIN};
  poll(&poller, 1, -1);
  printf(" missed none %d", read(fd, &count, sizeof(count)) == sizeof(count) && count >= 10);
  // One of an absolute time that has passed rings at once.
  const struct itimerspec passed = {.it_value.tv_nsec = 1};
  timerfd_settime(fd, TFD_TIMER_ABSTIME, &passed, NULL);
  poll(&poller, 1, -1);
  printf(" passed %d\n", read(fd, &count, sizeof(count)) == sizeof(count) && count == 1);
  close(fd);
}

// Timers that are set in one order and run out in another.
static void Order(void) {
  enum { kTimers = 5 };
  static const int kMs[kTimers] = {50, 10, 40, 20, 30};
  struct pollfd fds[kTimers];
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  for (int i = 0; i < kTimers; ++i) {
    struct itimerspec at = {.it_value = now};
    at.it_value.tv_nsec += (200 + kMs[i]) * 1000000;
    at.it_value.tv_sec += at.it_value.tv_nsec / 1000000000;
    at.it_value.tv_nsec %= 1000000000;
    fds[i].fd = timerfd_create(CLOCK_MONOTONIC, 0);
    fds[i].events = POLLIN;
    timerfd_settime(fds[i].fd, TFD_TIMER_ABSTIME, &at, NULL);
  }
  int wrong = 0, rang = 0;
  while (rang < kTimers) {
    poll(fds, kTimers, -1);
    for (int i = 0; i < kTimers; ++i) {
      if (fds[i].fd < 0 || (fds[i].revents & POLLIN) == 0) continue;
      // Whoever is due earlier has rung by now, or does so if asked.
      for (int j = 0; j < kTimers; ++j) {
        struct pollfd other = {.fd = fds[j].fd, .events = POLLIN};
        if (fds[j].fd >= 0 && kMs[j] < kMs[i] && poll(&other, 1, 0) != 1) ++wrong;
      }
      close(fds[i].fd);
      fds[i].fd = -1;
      ++rang;
    }
  }
  printf("order: %d rang, %d too early\n", rang, wrong);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = OnSignal, .sa_flags = SA_SIGINFO | SA_RESTART};
  const int signals[] = {SIGRTMIN, SIGALRM, SIGVTALRM, SIGPROF};
  for (int i = 0; i < 4; ++i) sigaction(signals[i], &action, NULL);
  PosixTimer("realtime", CLOCK_REALTIME);
  PosixTimer("monotonic", CLOCK_MONOTONIC);
  PosixTimer("boottime", CLOCK_BOOTTIME);
  PosixTimer("process", CLOCK_PROCESS_CPUTIME_ID);
  PosixTimer("thread", CLOCK_THREAD_CPUTIME_ID);
  IntervalTimer("real", ITIMER_REAL, CLOCK_MONOTONIC, SIGALRM);
  IntervalTimer("virtual", ITIMER_VIRTUAL, CLOCK_PROCESS_CPUTIME_ID, SIGVTALRM);
  IntervalTimer("prof", ITIMER_PROF, CLOCK_PROCESS_CPUTIME_ID, SIGPROF);
  Descriptor("timerfd realtime", CLOCK_REALTIME);
  Descriptor("timerfd monotonic", CLOCK_MONOTONIC);
  Descriptor("timerfd boottime", CLOCK_BOOTTIME);
  Order();
  return 0;
}
