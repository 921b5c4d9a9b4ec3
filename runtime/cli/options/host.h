// What is here: check, version.
#pragma once

namespace hmvm {

class CommandGroup;

struct CheckOptions {
  bool json = false;
};

struct VersionOptions {
  bool json = false;
};

void AddCheck(CommandGroup& commands);
void AddVersion(CommandGroup& commands);

}  // namespace hmvm
