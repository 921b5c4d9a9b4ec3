#pragma once

#include <chrono>
#include <functional>

#include "runtime/supervisor/timer.h"

namespace hmvm {

// How a container is made to end: its stop signal; when the grace is over, SIGKILL to all of its processes;
// when even that does not help, the end of its machine. Belongs to the loop's thread.
class StopSequence {
 public:
  struct Actions {
    std::function<void(int signal)> signal_first;  // to the first process
    std::function<void()> kill_all;
    std::function<void()> end_machine;
  };
  // From SIGKILL in the guest to the end of a machine that does not obey.
  static constexpr std::chrono::milliseconds kKillGrace{500};

  StopSequence(EventLoop& loop, Actions actions) : timer_(loop), actions_(std::move(actions)) {}

  // Again while it is under way: the signal is sent once more, and the new grace counts; SIGKILL is not taken
  // back.
  void Begin(int signal, std::chrono::milliseconds grace);
  // It has ended.
  void Cancel();

 private:
  void KillAll();
  void SetTimer(std::chrono::milliseconds after, void (StopSequence::*next)());
  void EndMachine() { actions_.end_machine(); }

  Timer timer_;
  const Actions actions_;
  bool killed_ = false;
};

}  // namespace hmvm
