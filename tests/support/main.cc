// The main of all test programs that start VMs. It runs the tests in a pid and mount namespace of their own:
// what a test leaves behind is seen, whoever started it, nobody else's containers are, and all of it ends
// with the program, however that ends.
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

namespace {

constexpr int kAllSkipped = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt

int RunTests() {
  const int status = RUN_ALL_TESTS();
  const testing::UnitTest& tests = *testing::UnitTest::GetInstance();
  if (status == 0 && tests.skipped_test_count() > 0 && tests.successful_test_count() == 0) return kAllSkipped;
  return status;
}

// As pid 1: reaps what the tests' programs leave, as a host's init does, until the tests have ended.
[[noreturn]] void BeInit() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const pid_t tests = ::fork();
  if (tests == 0) {
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
      ::perror("test harness: mount /proc");
      std::exit(1);
    }
    std::exit(RunTests());
  }
  int status = 0;
  for (pid_t ended = 0; ended != tests;) ended = ::wait(&status);
  ::_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ::signal(SIGPIPE, SIG_IGN);  // a program that does not read its input to the end is a case, not our end
  // Without root no test boots anything: they skip and say why.
  if (GTEST_FLAG_GET(list_tests) || ::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return RunTests();
  const pid_t init = ::fork();
  if (init == 0) BeInit();
  int status = 0;
  ::waitpid(init, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
