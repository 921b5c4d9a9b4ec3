// What polices virtual machine monitors, and what it has met: guard load, unload and status, audit verify.
#pragma once

#include <string>

namespace hmvm {

class CommandGroup;

struct GuardLoadOptions {};

struct GuardUnloadOptions {};

struct GuardStatusOptions {
  bool json = false;
  bool exits = false;  // count all exits for a second
};

struct AuditVerifyOptions {
  std::string file;  // empty: the installation's own
};

void AddGuard(CommandGroup& commands);
void AddAudit(CommandGroup& commands);

}  // namespace hmvm
