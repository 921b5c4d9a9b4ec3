// What each command does. A Result's value is the exit code of `hmvm`; errors are printed by main and exit
// with kExitFailed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "runtime/cli/command_line.h"
#include "runtime/container/store.h"
#include "security/guard/guard.h"

namespace hmvm {

// docker's exit codes where they are not the container's.
enum ExitCode { kExitFailed = 125, kExitCannotExecute = 126, kExitNotFound = 127 };

// Absolute paths.
struct Folders {
  std::string root;
  std::string run_root;

  std::string images() const { return root + "/images"; }
  std::string snapshots() const { return root + "/snapshots"; }
  std::string templates() const { return root + "/templates"; }
  std::string audit() const { return root + "/audit"; }
  Result<ContainerStore> OpenContainers() const { return ContainerStore::Open(root, run_root); }
  // Of containers and templates, what killed commands left. For commands by which people look and tidy up.
  void Sweep(const ContainerStore& containers) const;
};

Result<int> Execute(const Folders& folders, const HelpText& help);
Result<int> Execute(const Folders& folders, const RunOptions& options);
Result<int> Execute(const Folders& folders, const CreateOptions& options);
Result<int> Execute(const Folders& folders, const StartOptions& options);
Result<int> Execute(const Folders& folders, const RestartOptions& options);
Result<int> Execute(const Folders& folders, const PauseOptions& options);
Result<int> Execute(const Folders& folders, const ResumeOptions& options);
Result<int> Execute(const Folders& folders, const EventsOptions& options);
Result<int> Execute(const Folders& folders, const StatsOptions& options);
Result<int> Execute(const Folders& folders, const TopOptions& options);
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
Result<int> Execute(const Folders& folders, const TemplateBuildOptions& options);
Result<int> Execute(const Folders& folders, const TemplateLsOptions& options);
Result<int> Execute(const Folders& folders, const TemplateRmOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotCreateOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotLsOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotInspectOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotRmOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotExportOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotImportOptions& options);
Result<int> Execute(const Folders& folders, const SnapshotMergeOptions& options);
Result<int> Execute(const Folders& folders, const RestoreOptions& options);
Result<int> Execute(const Folders& folders, const ForkOptions& options);
Result<int> Execute(const Folders& folders, const ProfileCheckOptions& options);
Result<int> Execute(const Folders& folders, const ProfileShowOptions& options);
Result<int> Execute(const Folders& folders, const GuardLoadOptions& options);
Result<int> Execute(const Folders& folders, const GuardUnloadOptions& options);
Result<int> Execute(const Folders& folders, const GuardStatusOptions& options);
Result<int> Execute(const Folders& folders, const AuditVerifyOptions& options);
Result<int> Execute(const Folders& folders, const CheckOptions& options);
Result<int> Execute(const Folders& folders, const VersionOptions& options);

// What `inspect` and `guard status` tell of a machine.
nlohmann::ordered_json GuardDetails(const GuardVmStatus& machine);

// "hmvm: " and one line on standard error, whatever bytes the text holds: parts of it may be a guest's.
void PrintError(const std::string& text);
// All of it to standard output; EPIPE and the like are errors.
Result<> Print(const std::string& text);

// Does the same to each container; an error of one is printed and does not keep the others from it. Returns
// the exit code.
Result<int> ForEach(const std::vector<std::string>& names,
                    const std::function<Result<>(const std::string&)>& act);

// Stops it if it runs, and waits for that. What has ended meanwhile is no error.
Result<> StopContainer(const ContainerStore& store, const ContainerRecord& record, uint32_t timeout_s);

// Ends whatever runs of a container, asked nicely first where somebody listens, and removes it.
Result<> RemoveByForce(const ContainerStore& store, ContainerRecord record);

}  // namespace hmvm
