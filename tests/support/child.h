// A program under test: started on pipes or on a terminal of its own, fed, watched and awaited by one thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace hmvm::test {

// How long anything may take before a test gives up: far beyond what it needs, so that a loaded machine does
// not fail a test, and a hang still ends.
inline constexpr int kPatienceMs = 120'000;
// For what builds or downloads, once, into a cache.
inline constexpr int kBuildPatienceMs = 1'800'000;

// What a program left when it ended.
struct Outcome {
  int exit_code = -1;  // 128+N when signal N ended it
  std::string out;     // with a terminal: everything written to it
  std::string err;
};
std::string Describe(const Outcome& outcome);

// Waits until `condition` holds, asking again every few milliseconds; false when patience ends first.
bool WaitUntil(const std::function<bool()>& condition, int patience_ms = kPatienceMs);

// Not thread-safe. Destroying a child that runs kills it.
class Child {
 public:
  enum class Io { kPipes, kTerminal };
  struct Window {
    unsigned short rows = 24;
    unsigned short columns = 80;
  };

  // arguments[0] is a path or a name in PATH. A failed start is an exit code of 127, as a shell has it.
  explicit Child(const std::vector<std::string>& arguments, Io io = Io::kPipes, Window window = {24, 80});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

  // Bytes for its standard input, written as it reads them, while a Wait function below runs.
  void Send(std::string_view bytes) { pending_input_ += bytes; }
  // The end of its input once all bytes are written. For pipes only: a terminal's end is the byte Ctrl-D.
  void EndInput() { input_ends_ = true; }

  void Signal(int signal);
  void Resize(Window window);

  // Until `text` has appeared in the output behind what an earlier call found; false: it ended, or patience
  // did.
  bool WaitForOutput(std::string_view text);
  bool WaitForError(std::string_view text);
  // Until it has ended and its output has been read. On the end of patience it is killed: exit code 137.
  Outcome Wait(int patience_ms = kPatienceMs);
  bool Running();

 private:
  enum class Step { kMoved, kEnded, kTimeout };
  Step Move(int timeout_ms);
  bool WaitFor(std::string_view text, const std::string Outcome::*stream, size_t& seen);
  void Reap(bool block);

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd input_;  // of a terminal: its master
  UniqueFd output_;
  UniqueFd error_;
  bool terminal_ = false;
  bool input_ends_ = false;
  bool reaped_ = false;
  std::string pending_input_;
  size_t written_ = 0;
  size_t seen_out_ = 0;
  size_t seen_err_ = 0;
  Outcome outcome_;
};

// Runs a program to its end with `input` as its whole standard input.
Outcome RunProgram(const std::vector<std::string>& arguments, std::string_view input = {},
                   int patience_ms = kPatienceMs);

}  // namespace hmvm::test
