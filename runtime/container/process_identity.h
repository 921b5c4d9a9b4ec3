#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace hmvm {

// Names one process for good: a pid alone may be another process by the time it is read from a file.
struct ProcessIdentity {
  pid_t pid = 0;             // 0: no process
  uint64_t start_ticks = 0;  // /proc/PID/stat field 22: clock ticks after boot
  std::string boot_id;       // BootId()

  bool operator==(const ProcessIdentity&) const = default;
};

// /proc/sys/kernel/random/boot_id
const std::string& BootId();

// The identity of a process that runs now; nothing when there is none of this pid.
std::optional<ProcessIdentity> IdentifyProcess(pid_t pid);

// A pidfd of the process if it still runs (a zombie does not), else none.
UniqueFd OpenProcess(const ProcessIdentity& identity);

inline bool IsAlive(const ProcessIdentity& identity) { return OpenProcess(identity).valid(); }

}  // namespace hmvm
