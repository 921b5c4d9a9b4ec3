#include "runtime/cli/command_line.h"

#include "runtime/cli/options/command_tree.h"

namespace hmvm {
namespace {

// In the order of the help.
constexpr void (*kCommands[])(CommandGroup&) = {
    AddRun,   AddCreate,   AddStart,   AddRestart, AddPause, AddResume,   AddEvents,
    AddStats, AddTop,      AddExec,    AddPs,      AddLogs,  AddStop,     AddKill,
    AddRm,    AddWait,     AddInspect, AddImages,  AddImage, AddSnapshot, AddRestore,
    AddFork,  AddTemplate, AddProfile, AddGuard,   AddAudit, AddCheck,    AddVersion};

}  // namespace

Result<CommandLine> ParseCommandLine(std::vector<std::string> arguments) {
  CommandLine line;
  CommandTree tree("hmvm", "Containers that are microVMs: each runs under a Linux kernel of its own.",
                   "Every command has --help with examples. First steps:\n"
                   "  hmvm image import ./layout --name busybox\n"
                   "  hmvm run --rm busybox uname -r");
  tree.program().Option("--root", line.root, "Folder of images and containers");
  tree.program().Option("--run-root", line.run_root, "Folder of sockets");
  for (const auto add : kCommands) add(tree.commands());
  HMVM_TRY_ASSIGN(line.command, tree.Parse(std::move(arguments)));
  return line;
}

}  // namespace hmvm
