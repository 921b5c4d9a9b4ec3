#pragma once

#include <functional>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// SIGTERM and SIGINT, told to an event loop. One object a process, for as long as it lives.
//
// There is no signalfd, as whoever waits for one is woken by every signal of the process, and each timer of a
// vCPU is one.
class EndingSignals {
 public:
  // Holds them back in this thread and in all that it starts. From here on a dead peer is an error of the
  // write (no SIGPIPE).
  static Result<EndingSignals> Take();

  // Lets them interrupt this thread, which is the loop's, and has `handler` called there, also for those that
  // came before.
  Result<Watch> Listen(EventLoop& loop, std::function<void()> handler) const;

  // What a signal's handler writes to.
  int fd() const { return event_.get(); }

 private:
  explicit EndingSignals(UniqueFd event) : event_(std::move(event)) {}

  UniqueFd event_;
};

}  // namespace hmvm
