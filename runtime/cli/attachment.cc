#include "runtime/cli/attachment.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "base/file.h"
#include "runtime/output/detach_keys.h"
#include "runtime/supervisor/streams.h"

namespace hmvm {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

// What a user or a script sends to make a program do something. Job control and faults stay our own.
constexpr int kForwardedSignals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

sigset_t TakenSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kForwardedSignals) ::sigaddset(&set, signal);
  ::sigaddset(&set, SIGWINCH);
  return set;
}

// Waits until `fd` can be read; false when the end was rung first.
bool WaitReadable(int fd, int ending) {
  for (;;) {
    pollfd fds[2] = {{.fd = fd, .events = POLLIN, .revents = 0},
                     {.fd = ending, .events = POLLIN, .revents = 0}};
    if (::poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (fds[1].revents != 0) return false;
    if (fds[0].revents != 0) return true;
  }
}

}  // namespace

void BlockForwardedSignals() {
  const sigset_t set = TakenSignals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // a closed output is an error of write(2): the terminal must be restored first
}

Result<std::unique_ptr<Attachment>> Attachment::Start(Options options) {
  std::unique_ptr<Attachment> attachment(new Attachment(std::move(options)));
  Attachment& self = *attachment;
  const sigset_t set = TakenSignals();
  self.signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!self.signals_.valid()) return Error{errno, "signalfd"};
  self.ending_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!self.ending_.valid()) return Error{errno, "eventfd"};
  self.signal_thread_ = std::thread([&self] { self.TakeSignals(); });
  if (self.options_.out.valid()) {
    self.out_thread_ = std::thread([&self] { self.PumpOutput(self.options_.out, STDOUT_FILENO); });
  }
  if (self.options_.err.valid()) {
    self.err_thread_ = std::thread([&self] { self.PumpOutput(self.options_.err, STDERR_FILENO); });
  }
  return attachment;
}

Result<> Attachment::AttachInput() {
  if (!options_.in.valid()) return {};
  if (options_.terminal && ::isatty(STDIN_FILENO)) {
    HMVM_TRY_ASSIGN(RawTerminal raw, RawTerminal::Enter(STDIN_FILENO));
    raw_.emplace(std::move(raw));
  }
  in_thread_ = std::thread([this] { PumpInput(); });
  return {};
}

Attachment::~Attachment() {
  const uint64_t ring = 1;
  if (ending_.valid()) (void)!::write(ending_.get(), &ring, sizeof(ring));
  for (const UniqueFd* socket : {&options_.in, &options_.out, &options_.err}) {
    if (socket->valid()) ::shutdown(socket->get(), SHUT_RDWR);
  }
  if (in_thread_.joinable()) in_thread_.join();
  JoinOutput();
  if (signal_thread_.joinable()) signal_thread_.join();
}

void Attachment::JoinOutput() {
  for (std::thread* thread : {&out_thread_, &err_thread_}) {
    if (thread->joinable()) thread->join();
  }
}

void Attachment::Leave(HangUp why) {
  HangUp none = HangUp::kNone;
  if (hang_up_.compare_exchange_strong(none, why) && options_.on_hang_up) options_.on_hang_up();
}

void Attachment::PumpInput() {
  const auto chunk = std::make_unique<char[]>(kChunkBytes);
  DetachKeys keys;
  while (WaitReadable(STDIN_FILENO, ending_.get())) {
    const ssize_t got = ::read(STDIN_FILENO, chunk.get(), kChunkBytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) break;
    std::string_view typed(chunk.get(), static_cast<size_t>(got));
    DetachKeys::Outcome outcome;
    if (options_.detach_keys) {
      outcome = keys.Feed(typed);
      typed = outcome.bytes;
    }
    if (!SendAll(options_.in.get(), typed)) return;  // the process reads no more
    if (outcome.detached) return Leave(HangUp::kDetached);
  }
  ::shutdown(options_.in.get(), SHUT_WR);
}

void Attachment::PumpOutput(const UniqueFd& from, int to) {
  const auto chunk = std::make_unique<char[]>(kChunkBytes);
  for (;;) {
    const ssize_t got = ::read(from.get(), chunk.get(), kChunkBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    if (!WriteAll(to, std::string_view(chunk.get(), static_cast<size_t>(got))).has_value()) {
      return Leave(HangUp::kOutputClosed);
    }
  }
}

void Attachment::TakeSignals() {
  while (WaitReadable(signals_.get(), ending_.get())) {
    signalfd_siginfo info = {};
    if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo != SIGWINCH) {
      if (options_.on_signal) options_.on_signal(static_cast<int>(info.ssi_signo));
    } else if (options_.terminal && options_.on_resize) {
      options_.on_resize(WindowSizeOf(STDIN_FILENO));
    }
  }
}

}  // namespace hmvm
