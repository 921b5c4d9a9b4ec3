#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// Moves bytes from one descriptor to another on the loop, in order and without loss: what the sink does not
// take stays here (at most one buffer) and then in the source, so that a slow reader slows the writer. At the
// end of the source, or when the sink breaks, both are closed; a socket is half-closed first, so that its
// peer reads everything and then the end. The ends may come later than the pump, in any order.
class Pump {
 public:
  // `on_done` is called once, from the loop; it may destroy the pump.
  Pump(EventLoop& loop, std::function<void()> on_done) : loop_(loop), on_done_(std::move(on_done)) {}
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Pipe, socket or pty master; taken over and made non-blocking.
  void SetSource(UniqueFd source);
  void SetSink(UniqueFd sink);

  // Who wrote to the source has ended. What is in it now is still moved, then it counts as ended, though
  // others may hold its other end open. For pipes and sockets; a pump without a source is done at once.
  void EndAfterBuffered();

  // Holds everything where it is, until Release().
  void Hold();
  void Release();
  // Close the host's end as if it had never been there: the pump waits for another. Not when done.
  void LoseSource();
  void LoseSink();

  bool done() const { return done_; }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;  // a pipe's usual capacity
  static constexpr int kBuffersPerTurn = 16;        // then other handlers of the loop have their turn

  enum class Step { kAgain, kWaitSource, kWaitSink, kEnd };

  void Start();
  void Run();
  Step Fill();
  Step Drain();
  void Wait(int fd, uint32_t event);
  void Unwatch();
  void Finish();

  EventLoop& loop_;
  std::function<void()> on_done_;
  UniqueFd source_;
  UniqueFd sink_;
  std::unique_ptr<char[]> buffer_;  // bytes [begin_, end_) wait for the sink
  size_t begin_ = 0;
  size_t end_ = 0;
  std::optional<size_t> left_bytes_;  // set by EndAfterBuffered(): so much the source still gives
  bool done_ = false;
  bool held_ = false;
  Watch watch_;  // on the one end that is waited for
  int watched_fd_ = -1;
};

}  // namespace hmvm::agent
