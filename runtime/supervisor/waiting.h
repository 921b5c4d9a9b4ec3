#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/result.h"
#include "runtime/api/supervisor.pb.h"

namespace hmvm {

// Who waits for a container to run or to end. An answer is given once, when the files tell the same. Belongs
// to the loop's thread.
class Waiting {
 public:
  using Answer = supervisor::v1::WaitResponse;
  using Respond = std::function<void(Result<Answer>)>;

  void UntilRunning(Respond respond) { until_running_.push_back(std::move(respond)); }
  // Of the first run; at once if that has ended.
  void UntilFirstExit(Respond respond);
  void UntilStopped(Respond respond) { until_stopped_.push_back(std::move(respond)); }

  void AnswerRunning(const Answer& answer) { AnswerAll(until_running_, answer); }
  // The first call counts; those who wait are told with AnswerFirstExit().
  void NoteExit(const Answer& answer);
  void AnswerFirstExit();
  void AnswerStopped(const Answer& answer) { AnswerAll(until_stopped_, answer); }

 private:
  static void AnswerAll(std::vector<Respond>& waiting, const Answer& answer);

  std::vector<Respond> until_running_;
  std::optional<Answer> first_exit_;
  std::vector<Respond> until_first_exit_;
  std::vector<Respond> until_stopped_;
};

}  // namespace hmvm
