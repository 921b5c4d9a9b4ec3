// Each command with its options: one of them is what was typed.
#pragma once

#include <string>
#include <variant>

#include "runtime/cli/options/exec.h"
#include "runtime/cli/options/guard.h"
#include "runtime/cli/options/host.h"
#include "runtime/cli/options/image.h"
#include "runtime/cli/options/life.h"
#include "runtime/cli/options/profile.h"
#include "runtime/cli/options/run.h"
#include "runtime/cli/options/snapshot.h"
#include "runtime/cli/options/template.h"
#include "runtime/cli/options/view.h"

namespace hmvm {

// Help was asked for: print and leave with success.
struct HelpText {
  std::string text;
};

using Command =
    std::variant<HelpText, RunOptions, CreateOptions, StartOptions, RestartOptions, PauseOptions,
                 ResumeOptions, EventsOptions, StatsOptions, TopOptions, ExecOptions, PsOptions, LogsOptions,
                 StopOptions, KillOptions, RmOptions, WaitOptions, InspectOptions, ImagesOptions,
                 ImageImportOptions, ImageRmOptions, TemplateBuildOptions, TemplateLsOptions,
                 TemplateRmOptions, SnapshotCreateOptions, SnapshotLsOptions, SnapshotInspectOptions,
                 SnapshotRmOptions, SnapshotExportOptions, SnapshotImportOptions, SnapshotMergeOptions,
                 RestoreOptions, ForkOptions, ProfileCheckOptions, ProfileShowOptions, GuardLoadOptions,
                 GuardUnloadOptions, GuardStatusOptions, AuditVerifyOptions, CheckOptions, VersionOptions>;

}  // namespace hmvm
