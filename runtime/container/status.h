// The life of a container (design.md) as a table of legal steps.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm {

enum class Status {
  kCreated,     // its folder exists, nothing runs
  kStarting,    // the machine boots
  kRunning,     // its first process runs
  kPausing,     // the machine is being held
  kPaused,      // the machine is held: nothing in it moves
  kResuming,    // the machine is being let go
  kRestarting,  // it has ended and its restart policy starts it again after a while: there is an exit code
  kStopping,    // asked to end
  kStopped,     // its first process has ended: there is an exit code
  kFailed,      // hmvm or the machine failed it: there is a reason
};

inline constexpr Status kAllStatuses[] = {
    Status::kCreated,  Status::kStarting,   Status::kRunning,  Status::kPausing, Status::kPaused,
    Status::kResuming, Status::kRestarting, Status::kStopping, Status::kStopped, Status::kFailed};

// "created", "starting", ... as written to state files and shown to scripts.
std::string_view StatusName(Status status);
std::optional<Status> StatusFromName(std::string_view name);

// Whether a supervisor answers for a container in this status: all but Created, Stopped and Failed.
bool HasSupervisor(Status status);

// Why a container can't go `from` one status `to` another, as the end of a sentence that begins with its name
// ("is paused: resume it first"). Empty: the step is legal.
std::string WhyIllegal(Status from, Status to);
inline bool IsLegalTransition(Status from, Status to) { return WhyIllegal(from, to).empty(); }

}  // namespace hmvm
