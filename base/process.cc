#include "base/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>

#include "base/file.h"

namespace hmvm {
namespace {

// fork(2), into a cgroup if there is one: to move there later costs the kernel milliseconds. As after any
// fork of ours the child makes system calls only, so it does not matter that libc knows nothing of it.
pid_t Fork(const Process::Options& options) {
  if (options.cgroup < 0 && options.namespaces == 0) return ::fork();
  clone_args args = {};
  args.flags = options.namespaces;
  args.exit_signal = SIGCHLD;
  if (options.cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(options.cgroup);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
}

// From a PID namespace of one's own the parent has no PID, but it has the other end of our pipe.
bool ParentIsGone(const Process::Options& options, pid_t parent, int pipe) {
  if ((options.namespaces & CLONE_NEWPID) == 0) return ::getppid() != parent;
  pollfd end = {.fd = pipe, .events = 0, .revents = 0};
  return ::poll(&end, 1, 0) > 0 && (end.revents & POLLERR) != 0;
}

// Runs in the child between fork and exec: async-signal-safe calls only. Returns only on failure, with errno.
void ExecuteChild(const Process::Options& options, char* const* argv, std::vector<std::pair<int, int>>& fds,
                  pid_t parent, int report) {
  // "0" is the writer, one thread alone: that, too, spares the kernel its wait for all others.
  for (const int tasks : options.cgroup_tasks) {
    if (::write(tasks, "0", 1) != 1) return;
  }
  if (options.new_session) ::setsid();
  if (options.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ParentIsGone(options, parent, report)) ::_exit(1);  // before prctl
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  // First out of the way of all target numbers, then to their places: the two sets may overlap.
  int floor = 3;
  for (const auto& [ours, theirs] : fds) floor = std::max(floor, theirs + 1);
  for (auto& [ours, theirs] : fds) {
    ours = ::fcntl(ours, F_DUPFD_CLOEXEC, floor);
    if (ours < 0) return;
  }
  for (const auto& [ours, theirs] : fds) {
    if (::dup2(ours, theirs) < 0) return;
  }
  ::execv(argv[0], argv);
}

}  // namespace

Result<Process> Process::Start(const Options& options) {
  std::vector<char*> argv;
  for (const std::string& argument : options.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<std::pair<int, int>> fds = options.fds;
  HMVM_TRY_ASSIGN(Pipe failure, MakePipe());  // carries errno when exec fails; closed by a good exec
  const pid_t self = ::getpid();
  const pid_t pid = Fork(options);
  if (pid < 0) return Error{errno, "fork"};
  if (pid == 0) {
    ::close(failure.read.get());
    const int report = ::fcntl(failure.write.get(), F_DUPFD_CLOEXEC, 200);
    ExecuteChild(options, argv.data(), fds, self, report);
    const int code = errno;
    (void)!::write(report, &code, sizeof(code));
    ::_exit(127);
  }
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  failure.write.reset();
  int code = 0;
  auto got = ReadFull(failure.read.get(), std::as_writable_bytes(std::span(&code, 1)));
  if (got.has_value() && *got == sizeof(code)) {
    ::waitpid(pid, nullptr, 0);
    return Error{code, "execute '" + options.arguments[0] + "'"};
  }
  if (!pidfd.valid()) {
    Error error{errno, "pidfd_open"};
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return error;
  }
  return Process(pid, std::move(pidfd));
}

Result<> Process::Signal(int signal) const {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) < 0) {
    return Error{errno, "signal process " + std::to_string(pid_)};
  }
  return {};
}

Result<int> Process::Wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return Error{errno, "wait for process " + std::to_string(pid_)};
  }
  return status;
}

Result<CommandResult> RunCommand(const std::vector<std::string>& arguments) {
  constexpr size_t kKeptBytes = 64 << 10;
  HMVM_TRY_ASSIGN(Pipe pipe, MakePipe());
  HMVM_TRY_ASSIGN(UniqueFd null, OpenFile("/dev/null", O_RDONLY));
  Process::Options options{.arguments = arguments,
                           .fds = {{null.get(), 0}, {pipe.write.get(), 1}, {pipe.write.get(), 2}}};
  HMVM_TRY_ASSIGN(Process process, Process::Start(options));
  pipe.write.reset();
  CommandResult result;
  char chunk[4096];
  for (;;) {
    const ssize_t got = ::read(pipe.read.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const size_t room = kKeptBytes - result.output.size();
    result.output.append(chunk, std::min(room, static_cast<size_t>(got)));
  }
  HMVM_TRY_ASSIGN(const int status, process.Wait());
  result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace hmvm
