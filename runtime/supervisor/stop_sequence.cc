#include "runtime/supervisor/stop_sequence.h"

namespace hmvm {

void StopSequence::Begin(int signal, std::chrono::milliseconds grace) {
  if (killed_) return;
  if (grace.count() == 0) return KillAll();
  actions_.signal_first(signal);
  SetTimer(grace, &StopSequence::KillAll);
}

void StopSequence::Cancel() {
  timer_.Clear();
  killed_ = false;
}

void StopSequence::KillAll() {
  killed_ = true;
  actions_.kill_all();
  SetTimer(kKillGrace, &StopSequence::EndMachine);
}

void StopSequence::SetTimer(std::chrono::milliseconds after, void (StopSequence::*next)()) {
  // Without a timer there is no grace.
  if (!timer_.Set(after, [this, next] { (this->*next)(); }).has_value()) actions_.end_machine();
}

}  // namespace hmvm
