#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "bench/guest/operation.h"

namespace hmvm::bench {
namespace {

void ForkAndWait() {
  const pid_t child = Check(::fork(), "fork");
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
}

}  // namespace

std::vector<Operation> ProcessOperations() {
  return {
      Plain("thread: create, join", 200, 5, [] { std::thread([] {}).join(); }),
      Plain("fork, exit, wait", 200, 1, ForkAndWait),
      Plain("vfork, exec static, exit, wait", 200, 1,
            [] {
              RunProgram({"/proc/self/exe", "nothing"});
            }),
      Plain("vfork, exec dynamic, exit, wait", 100, 1, [] { RunProgram({"/bin/true"}); }),
  };
}

}  // namespace hmvm::bench
