#pragma once

#include <termios.h>

#include <utility>

#include "base/result.h"
#include "guest/api/agent.pb.h"

namespace hmvm {

// Puts a terminal into raw mode, and back when destroyed.
class RawTerminal {
 public:
  static Result<RawTerminal> Enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}
  ~RawTerminal();

 private:
  RawTerminal(int fd, const termios& saved) : fd_(fd), saved_(saved) {}

  int fd_;
  termios saved_;
};

// Zeros when `fd` is no terminal.
agent::v1::WindowSize WindowSizeOf(int fd);

}  // namespace hmvm
