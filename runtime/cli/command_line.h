// What can be typed, parsed into plain values.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/cli/options/command.h"

namespace hmvm {

struct CommandLine {
  std::string root = "/var/lib/hmvm";
  std::string run_root = "/run/hmvm";
  Command command;
};

// `arguments` without the program's name. An error is one sentence that names the argument and says where
// help is.
Result<CommandLine> ParseCommandLine(std::vector<std::string> arguments);

}  // namespace hmvm
