// What each command does. A Result's value is the exit code of `hmvm`; errors are printed by main and exit
// with kExitFailed.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/cli/command_line.h"
#include "runtime/container/store.h"

namespace hmvm {

// docker's exit codes where they are not the container's.
enum ExitCode { kExitFailed = 125, kExitCannotExecute = 126, kExitNotFound = 127 };

// Absolute paths.
struct Folders {
  std::string root;
  std::string run_root;

  std::string images() const { return root + "/images"; }
  Result<ContainerStore> OpenContainers() const { return ContainerStore::Open(root, run_root); }
};

Result<int> Execute(const Folders& folders, const HelpText& help);
Result<int> Execute(const Folders& folders, const RunOptions& options);
Result<int> Execute(const Folders& folders, const ExecOptions& options);
Result<int> Execute(const Folders& folders, const PsOptions& options);
Result<int> Execute(const Folders& folders, const LogsOptions& options);
Result<int> Execute(const Folders& folders, const StopOptions& options);
Result<int> Execute(const Folders& folders, const KillOptions& options);
Result<int> Execute(const Folders& folders, const RmOptions& options);
Result<int> Execute(const Folders& folders, const WaitOptions& options);
Result<int> Execute(const Folders& folders, const InspectOptions& options);
Result<int> Execute(const Folders& folders, const ImagesOptions& options);
Result<int> Execute(const Folders& folders, const ImageImportOptions& options);
Result<int> Execute(const Folders& folders, const ImageRmOptions& options);
Result<int> Execute(const Folders& folders, const CheckOptions& options);
Result<int> Execute(const Folders& folders, const VersionOptions& options);

// "hmvm: " and one line on standard error, whatever bytes the text holds: parts of it may be a guest's.
void PrintError(const std::string& text);
// All of it to standard output; EPIPE and the like are errors.
Result<> Print(const std::string& text);

// Ends whatever runs of a container, asked nicely first where somebody listens, and removes it.
Result<> RemoveByForce(const ContainerStore& store, const ContainerRecord& record);

}  // namespace hmvm
