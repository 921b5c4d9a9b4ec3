#pragma once

#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Reads a pipe to its end and keeps the last kKeptBytes: what a guest or VMM says on its console must not
// fill the host's disk or memory, but its last words are wanted when it fails.
class TailCapture {
 public:
  static constexpr size_t kKeptBytes = 64 << 10;

  // Reads on `loop` from now on; hand the write end to the child.
  static Result<std::unique_ptr<TailCapture>> Start(EventLoop& loop, UniqueFd read_end);

  // Takes in what is in the pipe now. On the loop's thread.
  void Drain();
  const std::string& text() const { return text_; }

 private:
  explicit TailCapture(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::string text_;
  Watch watch_;
};

}  // namespace hmvm
