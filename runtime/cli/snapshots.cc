// `hmvm snapshot create|ls|inspect|rm`, `hmvm restore`, `hmvm fork`.
#include <time.h>

#include <nlohmann/json.hpp>

#include "base/process.h"
#include "images/store.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/launch.h"
#include "runtime/cli/output.h"
#include "runtime/container/size.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

int64_t NowUnixNs() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Error NoSnapshot(const std::string& name) {
  return Error{0, "no snapshot '" + name + "'; `hmvm snapshot ls` lists all"};
}

// Writes a snapshot of the container into a draft; it goes on.
Result<SnapshotStore::Draft> Take(const Folders& folders, const SnapshotStore& snapshots,
                                  const std::string& container) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(container));
  if (record.status() != Status::kRunning) {
    return Error{0, "container '" + record.name + "' is " + std::string(StatusName(record.status())) +
                        ": only one that runs has a snapshot taken"};
  }
  HMVM_TRY_ASSIGN(SnapshotStore::Draft draft, snapshots.Begin());
  HMVM_TRY_ASSIGN(SupervisorClient supervisor, SupervisorClient::Connect(store, record.id));
  const auto taken = supervisor.Snapshot(draft.folder());
  if (!taken.has_value()) return Wrap("take a snapshot of '" + record.name + "'", taken.error());
  return draft;
}

// A new container that goes on where the snapshot's was; prints its id.
Result<int> GoOn(const Folders& folders, SnapshotFiles files, const std::string& name) {
  const ContainerRecord& origin = files.container.origin;
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ImageStore images, ImageStore::Open(folders.images()));
  auto image = images.Find(origin.config.image_id);
  if (!image.has_value()) {
    return Error{0, "image '" + origin.config.image +
                        "', which the snapshot's disk is, is not here: " + image.error().Message()};
  }
  ContainerConfig config = origin.config;
  std::string id = NewContainerId();
  config.hostname = id.substr(0, 12);
  HMVM_TRY_ASSIGN(MachineFiles machine, OpenMachineFiles(config, installation, *image));
  machine.snapshot = MachineSnapshot{.state = std::move(files.machine),
                                     .memory = std::move(files.memory),
                                     .known_whole = [] { return false; },
                                     .note_whole = [] {},
                                     .discard = [] {}};
  ContainerRecord record = NewContainerRecord(std::move(id), name, std::move(config));
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(Launch launch, Launch::Prepare({}, record.config.terminal));
  record.owner = *IdentifyProcess(::getpid());
  HMVM_TRY(store.Add(record));
  auto launched =
      std::move(launch).Go(store, record, std::move(machine), record.id, std::move(files.container));
  if (!launched.has_value()) (void)store.Remove(record.id);
  return launched;
}

}  // namespace

Result<int> Execute(const Folders& folders, const SnapshotCreateOptions& options) {
  HMVM_TRY(CheckContainerName(options.name));
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY_ASSIGN(SnapshotStore::Draft draft, Take(folders, snapshots, options.container));
  if (auto committed = draft.Commit(options.name); !committed.has_value()) {
    if (committed.error().code != EEXIST) return committed.error();
    return Error{0, "snapshot name '" + options.name + "' is taken; choose another or `hmvm snapshot rm " +
                        options.name + "` first"};
  }
  HMVM_TRY(Print(options.name + "\n"));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotLsOptions& options) {
  HMVM_TRY_ASSIGN(const std::vector<SnapshotInfo> infos, SnapshotStore(folders.snapshots()).List());
  ordered_json list = ordered_json::array();
  std::string names;
  Table table({"NAME", "CONTAINER", "IMAGE", "TAKEN", "SIZE"});
  for (const SnapshotInfo& info : infos) {
    names += info.name + "\n";
    list.push_back({{"name", info.name},
                    {"container", info.container},
                    {"image", info.image},
                    {"taken_unix_ns", info.taken_unix_ns},
                    {"disk_bytes", info.disk_bytes},
                    {"problem", info.problem}});
    table.Add({info.name, info.container, info.image, FormatAge(NowUnixNs() - info.taken_unix_ns) + " ago",
               FormatSize(info.disk_bytes)});
    if (!info.problem.empty()) PrintError(info.problem);
  }
  const auto replace = ordered_json::error_handler_t::replace;
  HMVM_TRY(Print(options.quiet  ? names
                 : options.json ? list.dump(2, ' ', false, replace) + "\n"
                                : table.Format()));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotInspectOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  const auto files = snapshots.Open(options.name);
  if (!files.has_value()) return files.error().code == ENOENT ? NoSnapshot(options.name) : files.error();
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  // The machine's part is the VMM's to read.
  HMVM_TRY_ASSIGN(const CommandResult report,
                  RunCommand({installation.vmm_program, "--inspect_snapshot=" + folders.snapshots() + "/" +
                                                            options.name + "/machine.pb"}));
  if (report.exit_code != 0) return Error{0, std::string(LastLogMessage(report.output))};
  const auto machine = ordered_json::parse(report.output, nullptr, /*allow_exceptions=*/false);
  const ContainerRecord& origin = files->container.origin;
  const ordered_json all = {{"name", options.name},
                            {"container",
                             {{"id", origin.id},
                              {"name", origin.name},
                              {"image", origin.config.image},
                              {"command", origin.config.args}}},
                            {"machine", machine}};
  HMVM_TRY(Print(all.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotRmOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  int exit_code = 0;
  for (const std::string& name : options.names) {
    const auto removed = snapshots.Remove(name);
    if (removed.has_value()) {
      HMVM_TRY(Print(name + "\n"));
      continue;
    }
    PrintError((removed.error().code == ENOENT ? NoSnapshot(name) : removed.error()).Message());
    exit_code = kExitFailed;
  }
  return exit_code;
}

Result<int> Execute(const Folders& folders, const RestoreOptions& options) {
  if (!options.name.empty()) HMVM_TRY(CheckContainerName(options.name));
  auto files = SnapshotStore(folders.snapshots()).Open(options.snapshot);
  if (!files.has_value()) return files.error().code == ENOENT ? NoSnapshot(options.snapshot) : files.error();
  return GoOn(folders, std::move(*files), options.name);
}

// The snapshot has no name, and is gone when all copies have its files open.
Result<int> Execute(const Folders& folders, const ForkOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY_ASSIGN(const SnapshotStore::Draft draft, Take(folders, snapshots, options.container));
  for (uint32_t copy = 0; copy < options.count; ++copy) {
    HMVM_TRY_ASSIGN(SnapshotFiles files, draft.Open());
    HMVM_TRY_ASSIGN(const int code, GoOn(folders, std::move(files), ""));
    if (code != 0) return code;
  }
  return 0;
}

}  // namespace hmvm
