#include "runtime/supervisor/waiting.h"

#include <string>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

Waiting::Answer Exit(int code) {
  Waiting::Answer answer;
  answer.set_exit_code(code);
  return answer;
}

// Notes the exit codes it is told, a word each.
struct Listener {
  std::string heard;
  Waiting::Respond Respond() {
    return
        [this](const Result<Waiting::Answer>& answer) { heard += std::to_string(answer->exit_code()) + " "; };
  }
};

TEST(WaitingTest, EachIsAnsweredOnceAndOnlyWithWhatItWaitsFor) {
  Waiting waiting;
  Listener running;
  Listener stopped;
  waiting.UntilRunning(running.Respond());
  waiting.UntilStopped(stopped.Respond());

  waiting.AnswerRunning(Exit(0));
  waiting.AnswerRunning(Exit(1));
  EXPECT_EQ(stopped.heard, "");
  waiting.AnswerStopped(Exit(2));
  waiting.AnswerStopped(Exit(3));

  EXPECT_EQ(running.heard, "0 ");
  EXPECT_EQ(stopped.heard, "2 ");
}

TEST(WaitingTest, TheFirstExitStaysTheFirst) {
  Waiting waiting;
  Listener before;
  Listener after;
  waiting.UntilFirstExit(before.Respond());

  waiting.NoteExit(Exit(5));
  EXPECT_EQ(before.heard, "") << "the files do not tell it yet";
  waiting.AnswerFirstExit();
  waiting.NoteExit(Exit(6));
  waiting.AnswerFirstExit();
  waiting.UntilFirstExit(after.Respond());

  EXPECT_EQ(before.heard, "5 ");
  EXPECT_EQ(after.heard, "5 ");
}

}  // namespace
}  // namespace hmvm
