// The foreground of `run` and `exec`: our standard streams and signals tied to those of a process in a guest.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "guest/api/agent.pb.h"
#include "runtime/cli/terminal.h"

namespace hmvm {

// Blocks the signals that an Attachment takes, in this thread and those it starts. First thing in the
// foreground, before any thread is there.
void BlockForwardedSignals();

class Attachment {
 public:
  struct Options {
    UniqueFd in;  // connected stream sockets; none: not attached
    UniqueFd out;
    UniqueFd err;
    bool terminal = false;     // raw mode if standard input is one and attached; window sizes are followed
    bool detach_keys = false;  // Ctrl-P Ctrl-Q end the attachment
    std::function<void(int signal)> on_signal = {};
    std::function<void(const agent::v1::WindowSize& window)> on_resize = {};
    std::function<void()> on_hang_up = {};  // detached, or nobody reads our output any more: leave
  };

  enum class HangUp { kNone, kDetached, kOutputClosed };

  // Starts to take signals and to pump output; the callbacks come from the attachment's own threads.
  static Result<std::unique_ptr<Attachment>> Start(Options options);
  // Starts to pump input, with the terminal in raw mode. Once there is a process for it: until then, Ctrl-C
  // is a signal to us.
  Result<> AttachInput();
  // Ends all and restores the terminal.
  ~Attachment();

  // Waits until the process's output has ended and is written.
  void JoinOutput();

  HangUp hang_up() const { return hang_up_; }

 private:
  explicit Attachment(Options options) : options_(std::move(options)) {}
  void PumpInput();
  void PumpOutput(const UniqueFd& from, int to);
  void TakeSignals();
  void Leave(HangUp why);

  Options options_;
  std::optional<RawTerminal> raw_;
  std::atomic<HangUp> hang_up_ = HangUp::kNone;
  UniqueFd signals_;
  UniqueFd ending_;  // eventfd: input and signal threads are to end
  std::thread in_thread_;
  std::thread out_thread_;
  std::thread err_thread_;
  std::thread signal_thread_;
};

}  // namespace hmvm
