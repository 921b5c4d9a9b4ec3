#include "runtime/supervisor/waiting.h"

#include <utility>

namespace hmvm {

void Waiting::UntilFirstExit(Respond respond) {
  if (first_exit_.has_value()) return respond(*first_exit_);
  until_first_exit_.push_back(std::move(respond));
}

void Waiting::NoteExit(const Answer& answer) {
  if (!first_exit_.has_value()) first_exit_ = answer;
}

void Waiting::AnswerFirstExit() { AnswerAll(until_first_exit_, *first_exit_); }

void Waiting::AnswerAll(std::vector<Respond>& waiting, const Answer& answer) {
  for (const Respond& respond : std::exchange(waiting, {})) respond(answer);
}

}  // namespace hmvm
