#include "guest/agent/container_process.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "guest/agent/child_channel.h"

namespace hmvm::agent {
namespace {

constexpr int kStdin = 0;

int64_t UnixTimeNs() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

}  // namespace

ContainerProcess::~ContainerProcess() {
  for (Stream& stream : stdio_) DropStream(stream);
}

Result<> ContainerProcess::Start(const v1::StartProcessRequest& request, const Surroundings& surroundings,
                                 Started started) {
  const bool terminal = request.process().terminal();
  const uint64_t ids[3] = {request.stdin_stream(), request.stdout_stream(), request.stderr_stream()};
  if (terminal && ids[2] != 0) return Error{EINVAL, "a terminal has no stderr_stream"};
  std::array<UniqueFd, 3> child_ends;
  for (int number = 0; number < 3; ++number) {
    HMVM_TRY_ASSIGN(child_ends[number], OpenStdio(number, ids[number], terminal));
  }
  oom_kills_at_start_ = cgroup_.OomKills();
  HMVM_TRY_ASSIGN(Launched launched, Launch(request.process(), surroundings, child_ends));
  pid_ = launched.pid;
  pidfd_ = std::move(launched.pidfd);
  channel_ = std::move(launched.channel);
  started_ = std::move(started);
  auto watch = loop_.OnReadable(channel_.get(), [this] { return OnChildMessage(); });
  if (watch.has_value()) {
    channel_watch_ = std::move(*watch);
    return {};
  }
  // Not watched, so not to be kept: reaped as an orphan.
  (void)Signal(SIGKILL).has_value();
  return watch.error();
}

// Makes the child's end of a standard stream, and claims the host's connection for ours.
Result<UniqueFd> ContainerProcess::OpenStdio(int number, uint64_t id, bool terminal) {
  const bool input = number == kStdin;
  if (id == 0) return OpenFile("/dev/null", input ? O_RDONLY : O_WRONLY);
  Stream& stream = stdio_[number];
  stream.pump = std::make_unique<Pump>(loop_, [this] { AnswerWaitersIfDone(); });
  UniqueFd child_end;
  if (!terminal) {
    HMVM_TRY_ASSIGN(Pipe pipe, MakePipe());
    if (input) {
      stream.pump->SetSink(std::move(pipe.write));
      child_end = std::move(pipe.read);
    } else {
      stream.pump->SetSource(std::move(pipe.read));
      child_end = std::move(pipe.write);
    }
  }
  HMVM_TRY(Claim(id, *stream.pump, input));
  stream.id = id;
  return child_end;
}

Result<> ContainerProcess::Claim(uint64_t id, Pump& pump, bool input) {
  return streams_.Claim(id, [&pump, input](UniqueFd connection) {
    if (input) {
      pump.SetSource(std::move(connection));
    } else {
      pump.SetSink(std::move(connection));
    }
  });
}

void ContainerProcess::DropStream(Stream& stream) {
  if (stream.id != 0) streams_.Cancel(stream.id);
  stream.id = 0;
  stream.pump.reset();
}

void ContainerProcess::HoldStreams() {
  for (const Stream& stream : stdio_) {
    if (stream.pump != nullptr) stream.pump->Hold();
  }
}

void ContainerProcess::ReleaseStreams() {
  for (const Stream& stream : stdio_) {
    if (stream.pump != nullptr) stream.pump->Release();
  }
}

void ContainerProcess::Disown(bool expected) {
  waiters_.clear();
  if (started_) started_ = [](const Result<uint32_t>&) {};
  for (int number = 0; number < 3; ++number) {
    Stream& stream = stdio_[number];
    if (stream.pump == nullptr) continue;
    const bool input = number == kStdin;
    if (!expected) {
      DropStream(stream);
    } else if (stream.pump->done()) {
      streams_.Refuse(stream.id);
    } else {
      if (input) {
        stream.pump->LoseSource();
      } else {
        stream.pump->LoseSink();
      }
      // Its id is free: the registry has forgotten all claims.
      (void)Claim(stream.id, *stream.pump, input).has_value();
    }
  }
}

Result<> ContainerProcess::OnChildMessage() {
  for (;;) {
    auto message = ReceiveFromChild(channel_.get());
    if (!message.has_value() && message.error().code == EAGAIN) return {};
    if (!message.has_value()) {
      FinishStart(message.error());
    } else if (!message->has_value()) {
      FinishStart(static_cast<uint32_t>(pid_));
    } else if ((*message)->error.has_value()) {
      FinishStart(*(*message)->error);
    } else {
      AdoptTerminal(std::move((*message)->descriptor));
      continue;
    }
    return {};
  }
}

void ContainerProcess::AdoptTerminal(UniqueFd master) {
  terminal_ = std::move(master);
  for (int number = 0; number < 2; ++number) {
    if (stdio_[number].pump == nullptr) continue;
    auto end = Duplicate(terminal_.get());  // a descriptor for each direction: each is watched on its own
    if (!end.has_value()) {
      DropStream(stdio_[number]);
    } else if (number == kStdin) {
      stdio_[number].pump->SetSink(std::move(*end));
    } else {
      stdio_[number].pump->SetSource(std::move(*end));
    }
  }
}

void ContainerProcess::FinishStart(Result<uint32_t> result) {
  channel_watch_ = Watch();
  channel_.reset();
  const Started started = std::move(started_);
  started(std::move(result));
}

void ContainerProcess::OnReaped(int wait_status) {
  if (channel_.valid()) {
    // It ended before the loop came to its report: all of it is there, and its end.
    bool gone = false;
    const Started started = std::move(started_);
    started_ = [&](Result<uint32_t> result) {
      gone = !result.has_value();
      started(std::move(result));
    };
    (void)OnChildMessage().has_value();
    if (gone) return;
  }
  ended_ = true;
  end_.set_exit_status(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
  end_.set_exited_at_unix_ns(UnixTimeNs());
  end_.set_oom_killed(cgroup_.OomKills() > oom_kills_at_start_);
  pidfd_.reset();
  DropStream(stdio_[kStdin]);
  const bool had_terminal = terminal_.valid();
  terminal_.reset();
  for (int number = 1; number < 3; ++number) {
    Pump* const pump = stdio_[number].pump.get();
    // The session's end hangs the terminal up, which ends the pump by itself.
    if (pump != nullptr && !had_terminal) pump->EndAfterBuffered();
  }
  AnswerWaitersIfDone();
}

void ContainerProcess::Wait(Waiter waiter) {
  waiters_.push_back(std::move(waiter));
  AnswerWaitersIfDone();
}

void ContainerProcess::AnswerWaitersIfDone() {
  const bool delivered = std::ranges::all_of(
      stdio_, [](const Stream& stream) { return stream.pump == nullptr || stream.pump->done(); });
  if (!ended_ || !delivered) return;
  const std::vector<Waiter> waiters = std::move(waiters_);
  waiters_.clear();
  for (const Waiter& waiter : waiters) waiter(end_);
}

Result<> ContainerProcess::Signal(int signal) const {
  if (ended_) return Error{ESRCH, "process already finished"};
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) < 0) {
    return Error{errno, "signal " + std::to_string(signal)};
  }
  return {};
}

Result<> ContainerProcess::Resize(const v1::WindowSize& window) const {
  if (ended_) return Error{ESRCH, "process already finished"};
  if (!terminal_.valid()) return Error{EINVAL, "process has no terminal"};
  winsize size = {};
  size.ws_row = static_cast<unsigned short>(window.rows());
  size.ws_col = static_cast<unsigned short>(window.columns());
  if (::ioctl(terminal_.get(), TIOCSWINSZ, &size) < 0) return Error{errno, "resize the terminal"};
  return {};
}

}  // namespace hmvm::agent
