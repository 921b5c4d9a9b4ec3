#include "tests/support/child.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/file.h"

namespace hmvm::test {
namespace {

using Clock = std::chrono::steady_clock;

// A test that can't even make a pipe has nothing to report but that.
template <typename T>
T Require(Result<T> result) {
  if (!result.has_value()) {
    std::fprintf(stderr, "test harness: %s\n", result.error().Message().c_str());
    std::abort();
  }
  return std::move(*result);
}

[[noreturn]] void Execute(std::vector<char*>& argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_DFL);
  ::execvp(argv[0], argv.data());
  ::perror(argv[0]);
  ::_exit(127);
}

// Reads what there is into `text`; closes `fd` at its end.
void Drain(UniqueFd& fd, std::string& text) {
  char chunk[65536];
  const ssize_t got = ::read(fd.get(), chunk, sizeof(chunk));
  if (got > 0) {
    text.append(chunk, static_cast<size_t>(got));
  } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
    fd.reset();  // EIO is the end of a terminal whose programs have gone
  }
}

}  // namespace

std::string Describe(const Outcome& outcome) {
  constexpr size_t kShown = 4000;
  return "exit code " + std::to_string(outcome.exit_code) + "\nstdout: " + outcome.out.substr(0, kShown) +
         "\nstderr: " + outcome.err.substr(0, kShown);
}

bool WaitUntil(const std::function<bool()>& condition, int patience_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(patience_ms);
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

Child::Child(const std::vector<std::string>& arguments, Io io, Window window)
    : terminal_(io == Io::kTerminal) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  if (terminal_) {
    const winsize size{.ws_row = window.rows, .ws_col = window.columns, .ws_xpixel = 0, .ws_ypixel = 0};
    int master = -1;
    pid_ = ::forkpty(&master, nullptr, nullptr, &size);
    if (pid_ == 0) Execute(argv);
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
    output_ = UniqueFd(master);
    input_ = Require(Duplicate(master));
  } else {
    Pipe in = Require(MakePipe());
    Pipe out = Require(MakePipe());
    Pipe err = Require(MakePipe());
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in.read.get(), 0);
      ::dup2(out.write.get(), 1);
      ::dup2(err.write.get(), 2);
      Execute(argv);
    }
    input_ = std::move(in.write);
    output_ = std::move(out.read);
    error_ = std::move(err.read);
    (void)SetNonBlocking(error_.get(), true);
  }
  (void)SetNonBlocking(input_.get(), true);
  (void)SetNonBlocking(output_.get(), true);
  pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (pid_ < 0 || !pidfd_.valid()) {
    ::perror("test harness: start a program");
    std::abort();
  }
}

Child::~Child() {
  if (reaped_) return;
  Signal(SIGKILL);
  Reap(true);
}

void Child::Signal(int signal) { ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0); }

void Child::Resize(Window window) {
  const winsize size{.ws_row = window.rows, .ws_col = window.columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(input_.get(), TIOCSWINSZ, &size);
}

void Child::Reap(bool block) {
  if (reaped_) return;
  int status = 0;
  if (::waitpid(pid_, &status, block ? 0 : WNOHANG) != pid_) return;
  reaped_ = true;
  outcome_.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool Child::Running() {
  Reap(false);
  return !reaped_;
}

// One round: writes, reads or reaps what is ready. kEnded: the program has gone and its output is read.
Child::Step Child::Move(int timeout_ms) {
  Reap(false);
  if (input_ends_ && !terminal_ && written_ == pending_input_.size()) input_.reset();
  pollfd fds[4] = {{output_.get(), POLLIN, 0},
                   {error_.get(), POLLIN, 0},
                   {written_ < pending_input_.size() ? input_.get() : -1, POLLOUT, 0},
                   {reaped_ ? -1 : pidfd_.get(), POLLIN, 0}};
  // Of a program that has ended only what is in the pipes already is awaited: a process that it left behind
  // may hold them open for ever.
  const int ready = ::poll(fds, 4, reaped_ ? 0 : timeout_ms);
  if (ready == 0) return reaped_ ? Step::kEnded : Step::kTimeout;
  if (fds[0].revents != 0) Drain(output_, outcome_.out);
  if (fds[1].revents != 0) Drain(error_, outcome_.err);
  if (fds[2].revents != 0) {
    const ssize_t put =
        ::write(input_.get(), pending_input_.data() + written_, pending_input_.size() - written_);
    if (put > 0) written_ += static_cast<size_t>(put);
    if (put < 0 && errno != EAGAIN && errno != EINTR) {  // EPIPE: nobody reads it any more
      input_.reset();
      pending_input_.resize(written_);
    }
  }
  return Step::kMoved;
}

bool Child::WaitFor(std::string_view text, const std::string Outcome::*stream, size_t& seen) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kPatienceMs);
  for (Step step = Step::kMoved;;) {
    const size_t at = (outcome_.*stream).find(text, seen);
    if (at != std::string::npos) {
      seen = at + text.size();
      return true;
    }
    if (step != Step::kMoved || Clock::now() > deadline) return false;
    step = Move(kPatienceMs);
  }
}

bool Child::WaitForOutput(std::string_view text) { return WaitFor(text, &Outcome::out, seen_out_); }
bool Child::WaitForError(std::string_view text) { return WaitFor(text, &Outcome::err, seen_err_); }

Outcome Child::Wait(int patience_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    const Step step = Move(patience_ms);
    if (step == Step::kEnded) break;
    if (step == Step::kTimeout || Clock::now() > deadline) {
      outcome_.err += "\n(test harness: killed after " + std::to_string(patience_ms / 1000) + " s)";
      Signal(SIGKILL);
      Reap(true);
    }
  }
  return outcome_;
}

Outcome RunProgram(const std::vector<std::string>& arguments, std::string_view input, int patience_ms) {
  Child child(arguments);
  child.Send(input);
  child.EndInput();
  return child.Wait(patience_ms);
}

}  // namespace hmvm::test
