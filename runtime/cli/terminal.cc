#include "runtime/cli/terminal.h"

#include <sys/ioctl.h>

namespace hmvm {

Result<RawTerminal> RawTerminal::Enter(int fd) {
  termios saved = {};
  if (::tcgetattr(fd, &saved) < 0) return Error{errno, "read the terminal's settings"};
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSANOW, &raw) < 0) return Error{errno, "set the terminal to raw mode"};
  return RawTerminal(fd, saved);
}

RawTerminal::~RawTerminal() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &saved_);
}

agent::v1::WindowSize WindowSizeOf(int fd) {
  agent::v1::WindowSize window;
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0) {
    window.set_rows(size.ws_row);
    window.set_columns(size.ws_col);
  }
  return window;
}

}  // namespace hmvm
