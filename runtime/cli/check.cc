// `hmvm check`: the VMM looks at the host, we show what it found.
#include <nlohmann/json.hpp>

#include "base/process.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"

namespace hmvm {

Result<int> Execute(const Folders&, const CheckOptions& options) {
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  std::vector<std::string> command = {installation.vmm_program, "--probe"};
  if (options.json) command.emplace_back("--format=json");
  HMVM_TRY_ASSIGN(const CommandResult result, RunCommand(command));
  HMVM_TRY(Print(result.output));
  return result.exit_code == 0 ? 0 : kExitFailed;
}

}  // namespace hmvm
