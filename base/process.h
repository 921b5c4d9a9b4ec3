#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// A child process, known by pid and pidfd. Destroying it does not end the child: the owner decides.
class Process {
 public:
  struct Options {
    std::vector<std::string> arguments;  // [0] is the program's path
    std::vector<std::pair<int, int>> fds =
        {};                        // {ours, the child's number}; the child gets no others but 0, 1, 2
    bool die_with_parent = false;  // SIGKILL when the thread that started it ends (PR_SET_PDEATHSIG)
    bool new_session = false;      // setsid(2)
    // Where the child lives from its first instruction on: the directory of a cgroup of version 2, -1 for
    // ours, and files "tasks" of cgroups of version 1.
    int cgroup = -1;
    std::vector<int> cgroup_tasks = {};
    // CLONE_NEWPID and its kin: namespaces of the child's own. In one for PIDs it is the first process, so
    // that no signal that it has no handler for can end it but those from outside.
    uint64_t namespaces = 0;
  };

  Process() = default;

  // Forks and executes. The error of a failed execve(2) is returned here, not left to the exit status.
  static Result<Process> Start(const Options& options);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable when the process has ended
  Result<> Signal(int signal) const;
  // Blocks until the end and reaps; a wait status as of waitpid(2).
  Result<int> Wait();

 private:
  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_ = -1;
  UniqueFd pidfd_;
};

// Runs a program to its end with standard output and error captured (together, at most 64 KiB kept).
struct CommandResult {
  int exit_code = 0;  // 128+N when a signal ended it
  std::string output;
};
Result<CommandResult> RunCommand(const std::vector<std::string>& arguments);

}  // namespace hmvm
