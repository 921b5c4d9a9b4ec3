// `hmvm snapshot ...`, `hmvm restore`, `hmvm fork`.
#include <unistd.h>

#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/size.h"
#include "images/store.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/launch.h"
#include "runtime/cli/output.h"
#include "runtime/cli/running.h"
#include "runtime/cli/snapshot_tool.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

// A word with a '/' is the path of an exported snapshot, as a name can't have one.
bool IsPath(const std::string& word) { return word.find('/') != std::string::npos; }

Error NoSnapshot(const std::string& name) {
  if (!IsPath(name) && ::access(name.c_str(), F_OK) == 0)
    return Error{0, "no snapshot '" + name + "'; for the file here write ./" + name};
  return Error{0, "no snapshot '" + name + "'; `hmvm snapshot ls` lists all"};
}

template <typename T>
Result<T> OrNoSnapshot(Result<T> found, const std::string& name) {
  if (!found.has_value() && found.error().code == ENOENT) return NoSnapshot(name);
  return found;
}

Error NameTaken(const std::string& name) {
  return Error{
      0, "snapshot name '" + name + "' is taken; choose another or `hmvm snapshot rm " + name + "` first"};
}

// Before there is work that would be for nothing.
Result<> CheckFree(const SnapshotStore& snapshots, const std::string& name) {
  HMVM_TRY(CheckContainerName(name));
  if (::access(snapshots.Folder(name).c_str(), F_OK) == 0) return NameTaken(name);
  return {};
}

Result<int> Commit(const SnapshotStore::Draft& draft, const std::string& name) {
  if (auto committed = draft.Commit(name); !committed.has_value()) {
    if (committed.error().code == EEXIST) return NameTaken(name);
    return committed.error();
  }
  HMVM_TRY(Print(name + "\n"));
  return 0;
}

// What the VMM says of a snapshot's machine.
Result<ordered_json> InspectMachine(const Installation& installation, const std::string& folder) {
  HMVM_TRY_ASSIGN(const CommandResult report,
                  RunCommand({installation.vmm_program, "--inspect_snapshot=" + folder + "/machine.pb"}));
  if (report.exit_code != 0) return Error{0, std::string(LastLogMessage(report.output))};
  return ordered_json::parse(report.output, nullptr, /*allow_exceptions=*/false);
}

// As the VMM knows the memory of the parent of a diff.
Result<std::string> MemoryIdOf(const SnapshotStore& snapshots, const std::string& name) {
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ordered_json machine, InspectMachine(installation, snapshots.Folder(name)));
  const std::string hex = machine.value("memory_id", "");
  if (hex.empty()) return Error{0, "snapshot '" + name + "' does not say what its memory is"};
  std::string id;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    id += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return id;
}

// Writes a snapshot of the container into a draft; it goes on.
Result<SnapshotStore::Draft> Take(const Folders& folders, const SnapshotStore& snapshots,
                                  const std::string& container, const std::string& diff_of, bool passing) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(container));
  if (record.status() != Status::kRunning) {
    return Error{0, "container '" + record.name + "' is " + std::string(StatusName(record.status())) +
                        ": only one that runs has a snapshot taken"};
  }
  HMVM_TRY_ASSIGN(SnapshotStore::Draft draft, snapshots.Begin());
  supervisor::v1::SnapshotRequest request;
  request.set_folder(draft.folder());
  request.set_passing(passing);
  if (!diff_of.empty()) {
    auto built = OrNoSnapshot(draft.BuildUpon(diff_of), diff_of);
    if (!built.has_value() && built.error().code == EMFILE) {
      return Error{0, "'" + diff_of + "' is the last of " + std::to_string(kMaxSnapshotChain) +
                          " snapshots, no chain is longer: take a full one, or merge it first"};
    }
    HMVM_TRY(built);
    HMVM_TRY_ASSIGN(*request.mutable_diff_of(), MemoryIdOf(snapshots, diff_of));
  }
  HMVM_TRY_ASSIGN(SupervisorClient supervisor, ConnectToRunning(store, record));
  const auto taken = supervisor.Snapshot(request);
  if (!taken.has_value()) {
    return Wrap("take a snapshot of '" + record.name + "' in '" + folders.snapshots() + "'", taken.error());
  }
  return draft;
}

// What a restore needs of a snapshot, wherever it is.
struct Source {
  MachineSnapshot machine;
  SnapshotContainer container;
};

Source SourceOf(SnapshotFiles files) {
  Source source{.machine = {}, .container = std::move(files.container)};
  source.machine.state = std::move(files.machine);
  source.machine.memory = std::move(files.memory);
  return source;
}

// An exported one: its container and what the VMM says of its machine.
struct Exported {
  SnapshotContainer container;
  ordered_json machine;
};

Result<Exported> ReadExported(const std::string& path) {
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const std::string report, SnapshotTool(installation.snapshot_program).Inspect(path));
  const auto json = ordered_json::parse(report, nullptr, /*allow_exceptions=*/false);
  const auto text = ordered_json::json_pointer("/files/container.json");
  if (!json.is_object() || !json.contains(text))
    return Error{0, "'" + path + "' has no container.json: it is no container's snapshot"};
  auto container = DecodeSnapshotContainer(json.at(text).get<std::string>());
  if (!container.has_value()) return Wrap("container.json of '" + path + "'", container.error());
  return Exported{.container = std::move(*container), .machine = json.value("machine", ordered_json())};
}

Result<Source> OpenExported(const std::string& path) {
  HMVM_TRY_ASSIGN(UniqueFd archive, OpenFile(path, O_RDONLY));
  HMVM_TRY_ASSIGN(Exported exported, ReadExported(path));
  TakeNoMonitorPolicy(exported.container);
  Source source{.machine = {}, .container = std::move(exported.container)};
  source.machine.archive = std::move(archive);
  return source;
}

// A new container that goes on where the snapshot's was; prints its id.
Result<int> GoOn(const Folders& folders, Source source, const std::string& name) {
  const ContainerRecord& origin = source.container.origin;
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ImageStore images, ImageStore::Open(folders.images()));
  auto image = images.Find(origin.config.image_id);
  if (!image.has_value()) {
    return Error{0, "image '" + origin.config.image +
                        "', which the snapshot's disk is, is not here: " + image.error().Message()};
  }
  ContainerConfig config = origin.config;
  // The snapshot has its kernel in memory, and the file is for a start after this run. On another host it may
  // lie elsewhere.
  std::error_code none;
  if (!std::filesystem::is_regular_file(config.kernel, none)) config.kernel = installation.kernel;
  std::string id = NewContainerId();
  config.hostname = id.substr(0, 12);
  HMVM_TRY_ASSIGN(MachineFiles machine, OpenMachineFiles(config, installation, *image));
  machine.snapshot = std::move(source.machine);
  machine.snapshot->known_whole = [] { return false; };
  machine.snapshot->note_whole = [] {};
  machine.snapshot->discard = [] {};
  ContainerRecord record = NewContainerRecord(std::move(id), name, std::move(config));
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(Launch launch, Launch::Prepare({}, record.config.terminal));
  record.owner = *IdentifyProcess(::getpid());
  HMVM_TRY(store.Add(record));
  auto launched =
      std::move(launch).Go(store, record, std::move(machine), record.id, std::move(source.container));
  if (!launched.has_value()) (void)store.Remove(record.id);
  return launched;
}

// Names of the snapshots of a chain, the full one first; "" for one that was removed.
ordered_json ChainOf(const SnapshotInfo& info) {
  ordered_json chain = info.parents;
  chain.push_back(info.name);
  return chain;
}

std::string ParentOf(const SnapshotInfo& info) {
  if (info.parents.empty()) return "-";
  return info.parents.back().empty() ? "(removed)" : info.parents.back();
}

ordered_json Describe(const SnapshotContainer& container) {
  const ContainerRecord& origin = container.origin;
  return {{"id", origin.id},
          {"name", origin.name},
          {"image", origin.config.image},
          {"command", origin.config.args}};
}

}  // namespace

Result<int> Execute(const Folders& folders, const SnapshotCreateOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY(CheckFree(snapshots, options.name));
  HMVM_TRY_ASSIGN(const SnapshotStore::Draft draft,
                  Take(folders, snapshots, options.container, options.diff_of, /*passing=*/false));
  return Commit(draft, options.name);
}

Result<int> Execute(const Folders& folders, const SnapshotLsOptions& options) {
  HMVM_TRY_ASSIGN(const std::vector<SnapshotInfo> infos, SnapshotStore(folders.snapshots()).List());
  ordered_json list = ordered_json::array();
  std::string names;
  Table table({"NAME", "CONTAINER", "IMAGE", "DIFF OF", "TAKEN", "SIZE"});
  for (const SnapshotInfo& info : infos) {
    names += info.name + "\n";
    list.push_back({{"name", info.name},
                    {"container", info.container},
                    {"image", info.image},
                    {"chain", ChainOf(info)},
                    {"taken_unix_ns", info.taken_unix_ns},
                    {"disk_bytes", info.disk_bytes},
                    {"problem", info.problem}});
    table.Add({info.name, info.container, info.image, ParentOf(info),
               FormatAge(NowUnixNs() - info.taken_unix_ns) + " ago", FormatSize(info.disk_bytes)});
    if (!info.problem.empty()) PrintError(info.problem);
  }
  HMVM_TRY(Print(options.quiet ? names : options.json ? FormatJson(list) : table.Format()));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotInspectOptions& options) {
  ordered_json all = {{"name", options.name}};
  std::string kernel;  // by its path, as the VMM was given it open and knows a number
  if (IsPath(options.name)) {
    HMVM_TRY_ASSIGN(const Exported exported, ReadExported(options.name));
    all["container"] = Describe(exported.container);
    all["machine"] = exported.machine;
    kernel = exported.container.origin.config.kernel;
  } else {
    const SnapshotStore snapshots(folders.snapshots());
    HMVM_TRY_ASSIGN(const SnapshotFiles files, OrNoSnapshot(snapshots.Open(options.name), options.name));
    HMVM_TRY_ASSIGN(const SnapshotInfo info, OrNoSnapshot(snapshots.Find(options.name), options.name));
    HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
    all["container"] = Describe(files.container);
    kernel = files.container.origin.config.kernel;
    all["chain"] = ChainOf(info);
    HMVM_TRY_ASSIGN(all["machine"], InspectMachine(installation, snapshots.Folder(options.name)));
  }
  all["machine"]["kernel"] = kernel;
  HMVM_TRY(Print(FormatJson(all)));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotExportOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY(OrNoSnapshot(snapshots.Open(options.name), options.name));
  if (options.path == "-" && ::isatty(STDOUT_FILENO) != 0)
    return Error{0, "standard output is a terminal: name a file, or send it somewhere else"};
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY(SnapshotTool(installation.snapshot_program).Export(snapshots.Folder(options.name), options.path));
  return 0;
}

Result<int> Execute(const Folders& folders, const SnapshotImportOptions& options) {
  const std::filesystem::path file = options.path;
  const std::string name = !options.name.empty()        ? options.name
                           : file.extension() == ".zst" ? file.stem().string()
                                                        : file.filename().string();
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY(CheckFree(snapshots, name));
  HMVM_TRY(ReadExported(options.path));
  HMVM_TRY_ASSIGN(const SnapshotStore::Draft draft, snapshots.Begin());
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY(SnapshotTool(installation.snapshot_program).Import(options.path, draft.folder()));
  HMVM_TRY(draft.TakeNoMonitorPolicy());
  return Commit(draft, name);
}

Result<int> Execute(const Folders& folders, const SnapshotMergeOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY(OrNoSnapshot(snapshots.Open(options.name), options.name));
  HMVM_TRY(CheckFree(snapshots, options.merged));
  HMVM_TRY_ASSIGN(const SnapshotStore::Draft draft, snapshots.Begin());
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY(SnapshotTool(installation.snapshot_program).Merge(snapshots.Folder(options.name), draft.folder()));
  return Commit(draft, options.merged);
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
  if (IsPath(options.snapshot)) {
    HMVM_TRY_ASSIGN(Source source, OpenExported(options.snapshot));
    return GoOn(folders, std::move(source), options.name);
  }
  auto files = OrNoSnapshot(SnapshotStore(folders.snapshots()).Open(options.snapshot), options.snapshot);
  if (!files.has_value()) return files.error();
  return GoOn(folders, SourceOf(std::move(*files)), options.name);
}

// The snapshot has no name, and is gone when all copies have its files open.
Result<int> Execute(const Folders& folders, const ForkOptions& options) {
  const SnapshotStore snapshots(folders.snapshots());
  HMVM_TRY_ASSIGN(const SnapshotStore::Draft draft,
                  Take(folders, snapshots, options.container, /*diff_of=*/"", /*passing=*/true));
  for (uint32_t copy = 0; copy < options.count; ++copy) {
    HMVM_TRY_ASSIGN(SnapshotFiles files, draft.Open());
    HMVM_TRY_ASSIGN(const int code, GoOn(folders, SourceOf(std::move(files)), ""));
    if (code != 0) return code;
  }
  return 0;
}

}  // namespace hmvm
