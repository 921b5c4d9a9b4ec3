// The life of a container (design.md) as a table of legal steps.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"

namespace hmvm {

enum class Status {
  kCreated,   // its folder exists, nothing runs
  kStarting,  // the machine boots
  kRunning,   // its first process runs
  kStopping,  // asked to end
  kStopped,   // its first process has ended: there is an exit code
  kFailed,    // hmvm or the machine failed it: there is a reason
};

inline constexpr Status kAllStatuses[] = {Status::kCreated,  Status::kStarting, Status::kRunning,
                                          Status::kStopping, Status::kStopped,  Status::kFailed};

// "created", "starting", ... as written to state files and shown to scripts.
std::string_view StatusName(Status status);
std::optional<Status> StatusFromName(std::string_view name);

// Stopped and Failed: nothing runs and nothing follows.
bool IsFinal(Status status);
bool IsLegalTransition(Status from, Status to);

}  // namespace hmvm
