// Makes every system call there is, each in a process of its own with arguments that no call can use, and
// says what came of it: "NUMBER errno N", "NUMBER signal N".
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

int main() {
  for (long number = 0; number <= 470; ++number) {
    const pid_t child = ::fork();
    if (child == 0) {
      // Some wait for ever.
      const itimerval patience = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 300'000}};
      ::setitimer(ITIMER_REAL, &patience, nullptr);
      const long result = ::syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
      ::_exit(result == -1 ? errno : 0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return 1;
    if (WIFSIGNALED(status)) {
      std::printf("%ld signal %d\n", number, WTERMSIG(status));
    } else {
      std::printf("%ld errno %d\n", number, WEXITSTATUS(status));
    }
  }
  return 0;
}
