// Timers that run out while a system call returns to the program, which then computes until the signal has come: it makes
// no other system call that could bring a forgotten one along.
#include <signal.h>
#include <stdio.h>
#include <time.h>

static volatile sig_atomic_t rang;
static void OnAlarm(int number) { rang = number; }

int main(void) {
  timer_t timer;
  int rings = 0;
  signal(SIGALRM, OnAlarm);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_create(CLOCK_MONOTONIC, &event, &timer);
  for (int i = 0; i < 20000; ++i) {
    const struct itimerspec soon = {.it_value.tv_nsec = 1000 + i * 1237 % 80000};
    rang = 0;
    timer_settime(timer, 0, &soon, NULL);
    while (rang == 0) {
    }
    ++rings;
  }
  printf("%d rings\n", rings);
  return 0;
}
