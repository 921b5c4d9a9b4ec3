// What goes into the audit log, and in which words.
#pragma once

#include <string>

#include "base/result.h"
#include "security/guard/event.h"

namespace hmvm {

// Whose VMM it was.
struct AuditSubject {
  std::string container;
  std::string image;  // as the user named it
};

// A breach: who, what, where in the program, and what was done. `folder` is the log's.
Result<> AuditBreach(const std::string& folder, const GuardEvent& event, const AuditSubject& subject);

// The guard was loaded, replaced or removed, by this process.
Result<> AuditGuard(const std::string& folder, const std::string& event, const std::string& version);

}  // namespace hmvm
