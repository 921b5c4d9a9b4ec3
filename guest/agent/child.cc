#include "guest/agent/child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>

#include "base/capabilities.h"
#include "base/file.h"
#include "guest/agent/accounts.h"
#include "guest/agent/capabilities.h"
#include "guest/agent/child_channel.h"
#include "guest/agent/container_root.h"
#include "guest/agent/environment.h"
#include "guest/agent/program.h"
#include "guest/agent/rlimits.h"

namespace hmvm::agent {
namespace {

// What the kernel wants of those who set a filter and may gain privileges by execve(2) later.
constexpr uint64_t kSetFilter = CapabilityBit(CAP_SYS_ADMIN);

void ResetSignals() {
  ::signal(SIGPIPE, SIG_DFL);  // the only one that the agent ignores; execve(2) sees to those with handlers
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

Result<> SetStdio(const std::array<int, 3>& stdio) {
  for (int target = 0; target < 3; ++target) {
    if (::dup2(stdio[target], target) < 0) return Error{errno, "set up standard streams"};
  }
  return {};
}

// What /dev/console is for the container's first process.
Result<> BindConsole(int master) {
  int number = 0;
  if (::ioctl(master, TIOCGPTN, &number) < 0) return Error{errno, "number of the terminal"};
  const std::string slave = "/dev/pts/" + std::to_string(number);
  HMVM_TRY(OpenFile("/dev/console", O_CREAT | O_RDONLY | O_NOCTTY, 0600));
  if (::mount(slave.c_str(), "/dev/console", "", MS_BIND, nullptr) < 0) {
    return Error{errno, "mount '" + slave + "' on '/dev/console'"};
  }
  return {};
}

// A pty of the container's own devpts; its master goes to the agent.
Result<> SetTerminal(const v1::WindowSize& window, bool console, int channel) {
  HMVM_TRY_ASSIGN(const UniqueFd master, OpenFile("/dev/ptmx", O_RDWR | O_NOCTTY));
  int unlock = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &unlock) < 0) return Error{errno, "unlock the terminal"};
  const UniqueFd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.valid()) return Error{errno, "open the terminal"};
  winsize size = {};
  size.ws_row = static_cast<unsigned short>(window.rows());
  size.ws_col = static_cast<unsigned short>(window.columns());
  if (::ioctl(slave.get(), TIOCSWINSZ, &size) < 0) return Error{errno, "set the terminal's size"};
  if (console) HMVM_TRY(BindConsole(master.get()));
  HMVM_TRY(SendDescriptor(channel, master.get()));
  HMVM_TRY(SetStdio({slave.get(), slave.get(), slave.get()}));
  if (::ioctl(0, TIOCSCTTY, 0) < 0) return Error{errno, "make the terminal the controlling one"};
  return {};
}

// The image's file; empty if it is not there or no regular file (a FIFO would block us).
std::string ReadAccountsFile(const std::string& path) {
  constexpr size_t kLimitBytes = 4 << 20;
  auto file = OpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat status = {};
  if (!file.has_value() || ::fstat(file->get(), &status) < 0 || !S_ISREG(status.st_mode)) return "";
  return ReadFile(path, kLimitBytes).value_or("");
}

Result<> EnterDirectory(const std::string& given) {
  const std::string cwd = given.empty() ? "/" : given;
  if (cwd[0] != '/') return Error{EINVAL, "working directory \"" + cwd + "\" is not an absolute path"};
  for (size_t slash = cwd.find('/', 1);; slash = cwd.find('/', slash + 1)) {
    ::mkdir(cwd.substr(0, slash).c_str(), 0755);  // its failure, if it matters, is chdir's too
    if (slash == std::string::npos) break;
  }
  if (::chdir(cwd.c_str()) < 0) {
    return Error{EINVAL, "chdir to cwd (\"" + cwd + "\") failed: " + Reason(errno)};
  }
  return {};
}

Result<> SetRlimits(const v1::Process& process) {
  // As the system's service manager gives it to daemons; the agent's own is higher.
  rlimit files = {.rlim_cur = 1024, .rlim_max = 524288};
  ::setrlimit(RLIMIT_NOFILE, &files);
  for (const v1::Rlimit& limit : process.rlimits()) {
    HMVM_TRY_ASSIGN(const int resource, ParseRlimitType(limit.type()));
    const rlimit value = {.rlim_cur = limit.soft(), .rlim_max = limit.hard()};
    if (::setrlimit(static_cast<__rlimit_resource>(resource), &value) < 0) {
      return Error{errno, "set " + limit.type()};
    }
  }
  return {};
}

// So that a process with another uid may open /dev/stdout and the like.
void OwnStdio(uid_t uid) {
  for (int fd = 0; fd < 3; ++fd) {
    struct stat status = {};
    if (::fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || ::isatty(fd))) (void)!::fchown(fd, uid, -1);
  }
}

// What execve(2) leaves of the capabilities is bounded by the bounding set; until then the right to set a
// filter is kept at hand, not in effect.
Result<> BecomeUser(const Account& account, uint64_t capabilities) {
  HMVM_TRY(LimitBoundingSet(capabilities));
  if (::setgroups(account.groups.size(), account.groups.data()) < 0) return Error{errno, "set groups"};
  if (::setresgid(account.gid, account.gid, account.gid) < 0) return Error{errno, "set group id"};
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return Error{errno, "keep capabilities"};
  if (::setresuid(account.uid, account.uid, account.uid) < 0) return Error{errno, "set user id"};
  return SetCapabilities(account.uid == 0 ? capabilities : 0, kSetFilter);
}

// The last thing before execve(2): what follows is under the filter.
Result<> Confine(const v1::Process& process, uint64_t capabilities) {
  if (process.no_new_privileges() && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    return Error{errno, "set no_new_privs"};
  }
  const std::string& filter = process.seccomp_filter();
  if (filter.empty()) return SetCapabilities(capabilities, 0);
  std::vector<sock_filter> instructions(filter.size() / sizeof(sock_filter));
  if (instructions.size() > BPF_MAXINSNS || filter.size() % sizeof(sock_filter) != 0) {
    return Error{EINVAL, "a seccomp filter of " + std::to_string(filter.size()) + " bytes"};
  }
  std::memcpy(instructions.data(), filter.data(), filter.size());
  const sock_fprog program = {.len = static_cast<unsigned short>(instructions.size()),
                              .filter = instructions.data()};
  HMVM_TRY(SetCapabilities(capabilities | kSetFilter, kSetFilter));
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
    return Error{EINVAL, "the kernel refuses the seccomp filter: " + Reason(errno)};
  }
  return {};
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The errno of a failed execve(2) as the caller's exit code needs it: 127 for what is not there, else 126.
Error ExecError(const std::string& program, int error) {
  const int code = error == ENOENT || error == EACCES ? error : EINVAL;
  return Error{code, "exec " + program + ": " + Reason(error)};
}

// Returns only when it fails.
Result<> Become(const v1::Process& process, const Surroundings& surroundings, const std::array<int, 3>& stdio,
                int channel) {
  ResetSignals();
  ::setsid();
  if (process.args().empty()) return Error{EINVAL, "no command"};
  HMVM_TRY_ASSIGN(const uint64_t capabilities,
                  ParseCapabilities({process.capabilities().begin(), process.capabilities().end()}));
  const bool first = surroundings.init_pidfd < 0;
  HMVM_TRY(surroundings.namespaces.Enter());
  ::umask(022);
  if (first) HMVM_TRY(MountProc(surroundings.open_system_paths));
  if (process.terminal()) {
    HMVM_TRY(SetTerminal(process.window(), first, channel));
  } else {
    HMVM_TRY(SetStdio(stdio));
  }
  HMVM_TRY_ASSIGN(const Account account, ResolveUser(process.user(), ReadAccountsFile("/etc/passwd"),
                                                     ReadAccountsFile("/etc/group")));
  const std::vector<std::string> environment = CompleteEnvironment(
      {process.env().begin(), process.env().end()},
      {.hostname = surroundings.hostname, .home = account.home, .terminal = process.terminal()});
  HMVM_TRY(EnterDirectory(process.cwd()));
  HMVM_TRY(SetRlimits(process));
  OwnStdio(account.uid);
  HMVM_TRY(BecomeUser(account, capabilities));
  const std::vector<std::string> arguments(process.args().begin(), process.args().end());
  HMVM_TRY_ASSIGN(const std::string program,
                  FindProgram(arguments[0], EnvironmentValue(environment, "PATH")));
  // Everything of ours is close-on-exec; this holds even if somebody once forgets.
  ::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
  const std::vector<char*> argv = Pointers(arguments), envp = Pointers(environment);
  HMVM_TRY(Confine(process, account.uid == 0 ? capabilities : 0));
  ::execve(program.c_str(), argv.data(), envp.data());
  return ExecError(program, errno);
}

}  // namespace

void RunChild(const v1::Process& process, const Surroundings& surroundings, const std::array<int, 3>& stdio,
              int channel) {
  const auto failed = Become(process, surroundings, stdio, channel);
  SendError(channel, failed.has_value() ? Error{EINVAL, "no command"} : failed.error());
  ::_exit(127);
}

}  // namespace hmvm::agent
