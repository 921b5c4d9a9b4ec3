// A further command in a container: exec.
#pragma once

#include <string>
#include <vector>

namespace hmvm {

class CommandGroup;

struct ExecOptions {
  bool interactive = false;
  bool terminal = false;
  bool privileged = false;
  std::vector<std::string> env;
  std::string working_dir;
  std::string user;
  std::string container;
  std::vector<std::string> command;
};

void AddExec(CommandGroup& commands);

}  // namespace hmvm
