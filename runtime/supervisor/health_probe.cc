#include "runtime/supervisor/health_probe.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>

#include "base/clock.h"
#include "runtime/supervisor/streams.h"

namespace hmvm {
namespace {

using Clock = std::chrono::steady_clock;

int MillisecondsTo(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

class Output {
 public:
  Output(UniqueFd out, UniqueFd err) : fds_{std::move(out), std::move(err)} {}

  // Reads both streams to their ends; false when the deadline comes first.
  bool Read(Clock::time_point deadline) {
    for (;;) {
      pollfd polled[2];
      for (int i = 0; i < 2; ++i) polled[i] = {.fd = fds_[i].get(), .events = POLLIN, .revents = 0};
      if (!fds_[0].valid() && !fds_[1].valid()) return true;
      const int got = ::poll(polled, 2, MillisecondsTo(deadline));
      if (Clock::now() >= deadline) return false;
      for (int i = 0; i < 2; ++i) {
        if (got > 0 && polled[i].revents != 0) Take(fds_[i]);
      }
    }
  }
  void Close() {
    for (UniqueFd& fd : fds_) fd.reset();
  }
  std::string TakeText() { return std::move(text_); }

 private:
  void Take(UniqueFd& fd) {
    char chunk[4096];
    const ssize_t got = ::read(fd.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) return fd.reset();
    const size_t room = ProbeResult::kMaxOutputBytes - text_.size();
    text_.append(chunk, std::min(room, static_cast<size_t>(got)));
  }

  UniqueFd fds_[2];
  std::string text_;
};

// The exit code, with what it wrote; -1 and a sentence when it took too long.
Result<int> Run(AgentClient& agent, const HealthProbe& probe, std::string& text) {
  agent::v1::StartProcessRequest start;
  start.set_container_id(probe.container_id);
  start.set_process_id(probe.process_id);
  *start.mutable_process() = probe.process;
  start.set_stdout_stream(NewStreamId());
  start.set_stderr_stream(NewStreamId());
  HMVM_TRY_ASSIGN(UniqueFd out, ConnectStream(probe.run_folder, start.stdout_stream()));
  HMVM_TRY_ASSIGN(UniqueFd err, ConnectStream(probe.run_folder, start.stderr_stream()));
  Output output(std::move(out), std::move(err));
  const auto deadline = Clock::now() + probe.timeout;
  HMVM_TRY(agent.StartProcess(start));
  const bool in_time = output.Read(deadline);
  if (!in_time) {
    agent::v1::SignalProcessRequest kill;
    kill.set_container_id(probe.container_id);
    kill.set_process_id(probe.process_id);
    kill.set_signal(SIGKILL);
    (void)agent.SignalProcess(kill);  // it may have ended by now
    output.Close();                   // what it started may hold them open
  }
  HMVM_TRY_ASSIGN(const auto ended, agent.WaitProcess(probe.container_id, probe.process_id));
  HMVM_TRY(agent.RemoveProcess(probe.container_id, probe.process_id));
  text = output.TakeText();
  if (in_time) return static_cast<int>(ended.exit_status());
  text = "the health check took longer than " +
         std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(probe.timeout).count()) + " ms";
  return -1;
}

}  // namespace

std::optional<ProbeResult> RunHealthProbe(AgentClient& agent, const HealthProbe& probe) {
  ProbeResult result;
  result.begun_unix_ns = NowUnixNs();
  const Result<int> exit_code = Run(agent, probe, result.output);
  result.ended_unix_ns = NowUnixNs();
  if (!exit_code.has_value()) {
    const int code = exit_code.error().code;
    if (code == ECONNRESET || code == ECONNREFUSED || code == EPIPE) return std::nullopt;
    result.output = exit_code.error().what;  // such as that there is no such program
  }
  result.exit_code = exit_code.value_or(-1);
  return result;
}

}  // namespace hmvm
