#include "runtime/container/status.h"

namespace hmvm {

std::string_view StatusName(Status status) {
  switch (status) {
    case Status::kCreated:
      return "created";
    case Status::kStarting:
      return "starting";
    case Status::kRunning:
      return "running";
    case Status::kStopping:
      return "stopping";
    case Status::kStopped:
      return "stopped";
    case Status::kFailed:
      return "failed";
  }
  return "unknown";
}

std::optional<Status> StatusFromName(std::string_view name) {
  for (const Status status : kAllStatuses) {
    if (StatusName(status) == name) return status;
  }
  return std::nullopt;
}

bool IsFinal(Status status) { return status == Status::kStopped || status == Status::kFailed; }

bool IsLegalTransition(Status from, Status to) {
  if (IsFinal(from)) return false;
  if (to == Status::kFailed) return true;
  switch (from) {
    case Status::kCreated:
      return to == Status::kStarting;
    case Status::kStarting:
      return to == Status::kRunning || to == Status::kStopping;
    case Status::kRunning:
      return to == Status::kStopping || to == Status::kStopped;
    case Status::kStopping:
      return to == Status::kStopped;
    default:
      return false;
  }
}

}  // namespace hmvm
