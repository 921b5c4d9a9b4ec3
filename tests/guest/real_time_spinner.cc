// Takes the processor as a real-time task, says so, and never gives it back.
#include <sched.h>
#include <unistd.h>

int main() {
  const sched_param parameters = {.sched_priority = 50};
  if (::sched_setscheduler(0, SCHED_FIFO, &parameters) != 0) return 1;
  if (::write(STDOUT_FILENO, "spinning\n", 9) != 9) return 1;
  for (;;) asm volatile("");
}
