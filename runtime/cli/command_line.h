// What can be typed: the commands of `hmvm`, their options and help, parsed into plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "runtime/container/confinement.h"
#include "runtime/container/health.h"
#include "runtime/container/resources.h"
#include "runtime/container/restart_policy.h"
#include "runtime/events/event_filter.h"

namespace hmvm {

struct RunOptions {
  bool remove = false;
  bool detach = false;
  bool interactive = false;
  bool terminal = false;
  std::string name;
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  std::string working_dir;
  std::string user;
  std::string hostname;
  std::optional<std::string> entrypoint;
  uint32_t cpus = 1;
  uint64_t memory_bytes = uint64_t{256} << 20;
  Resources resources;
  bool read_only = false;
  std::string security_profile = "default";
  ConfinementWishes confinement;
  std::string kernel;
  std::string platform = "auto";
  std::string seccomp = "kill";
  std::string stop_signal;  // empty: the image's
  RestartPolicy restart_policy;
  bool no_template = false;
  bool require_guard = false;
  HealthWishes health;
  std::string image;
  std::vector<std::string> command;
};

// All of `run` but --detach.
struct CreateOptions : RunOptions {};

struct StartOptions {
  bool attach = false;
  bool interactive = false;
  std::vector<std::string> containers;
};

struct RestartOptions {
  uint32_t timeout_s = 10;
  std::vector<std::string> containers;
};

struct PauseOptions {
  std::vector<std::string> containers;
};

struct ResumeOptions {
  std::vector<std::string> containers;
};

struct EventsOptions {
  bool follow = false;
  int64_t since_unix_ns = 0;
  EventFilter filter;
};

struct StatsOptions {
  bool no_stream = false;
  bool json = false;
  std::vector<std::string> containers;  // empty: all that run
};

struct TopOptions {
  bool json = false;
  std::string container;
};

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

struct PsOptions {
  bool all = false;
  bool quiet = false;
  bool json = false;
};

struct LogsOptions {
  bool follow = false;
  std::optional<uint64_t> tail;
  std::string container;
};

struct StopOptions {
  uint32_t timeout_s = 10;
  std::vector<std::string> containers;
};

struct KillOptions {
  int signal = 9;
  std::vector<std::string> containers;
};

struct RmOptions {
  bool force = false;
  std::vector<std::string> containers;
};

struct WaitOptions {
  std::vector<std::string> containers;
};

struct InspectOptions {
  std::vector<std::string> containers;
};

struct ImagesOptions {
  bool quiet = false;
  bool json = false;
};

struct ImageImportOptions {
  std::string name;
  std::string path;
};

struct ImageRmOptions {
  std::vector<std::string> images;
};

struct TemplateBuildOptions {
  uint32_t cpus = 1;
  uint64_t memory_bytes = uint64_t{256} << 20;
  std::string kernel;
  std::string platform = "auto";
};

struct TemplateLsOptions {
  bool quiet = false;
  bool json = false;
};

struct TemplateRmOptions {
  std::vector<std::string> templates;  // ids, or their beginnings
};

struct SnapshotCreateOptions {
  std::string container;
  std::string name;
  std::string diff_of;  // empty: a full one
};

struct SnapshotLsOptions {
  bool quiet = false;
  bool json = false;
};

struct SnapshotInspectOptions {
  std::string name;
};

struct SnapshotRmOptions {
  std::vector<std::string> names;
};

struct SnapshotExportOptions {
  std::string name;
  std::string path;  // "-": standard output
};

struct SnapshotImportOptions {
  std::string path;
  std::string name;  // empty: the file's
};

struct SnapshotMergeOptions {
  std::string name;
  std::string merged;  // the new one's name
};

struct RestoreOptions {
  std::string snapshot;  // with a '/': an exported one's path
  std::string name;      // of the new container
};

struct ForkOptions {
  std::string container;
  uint32_t count = 1;
};

struct ProfileCheckOptions {
  std::vector<std::string> files;
};

struct ProfileShowOptions {
  std::string profile;  // a name or a file
};

struct GuardLoadOptions {};

struct GuardUnloadOptions {};

struct GuardStatusOptions {
  bool json = false;
  bool exits = false;  // count all exits for a second
};

struct AuditVerifyOptions {
  std::string file;  // empty: the installation's own
};

struct CheckOptions {
  bool json = false;
};

struct VersionOptions {
  bool json = false;
};

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

struct CommandLine {
  std::string root = "/var/lib/hmvm";
  std::string run_root = "/run/hmvm";
  Command command;
};

// `arguments` without the program's name. An error is one sentence that names the argument and says where
// help is.
Result<CommandLine> ParseCommandLine(std::vector<std::string> arguments);

}  // namespace hmvm
