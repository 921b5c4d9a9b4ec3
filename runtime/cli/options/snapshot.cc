#include "runtime/cli/options/snapshot.h"

#include "runtime/cli/options/shared.h"

namespace hmvm {
namespace {

constexpr char kSnapshotOrFile[] = "Its name; a word with a / is the path of an exported one";

void AddSnapshotCreate(CommandGroup& group) {
  auto create = group.Add<SnapshotCreateOptions>(
      {.name = "create",
       .description = "Write a running container to disk; it goes on",
       .usage = "snapshot create [OPTIONS] CONTAINER NAME",
       .examples = "  hmvm snapshot create web before-upgrade\n"
                   "  hmvm snapshot create --diff-of before-upgrade web after-upgrade"});
  AddContainer(create, create->container);
  create.Word("NAME", create->name, "A name for the snapshot");
  create.Option("--diff-of", create->diff_of,
                "Write only what has changed since this one, the container's last");
}

void AddSnapshotLs(CommandGroup& group) {
  auto ls = group.Add<SnapshotLsOptions>({.name = "ls",
                                          .description = "List snapshots",
                                          .usage = "snapshot ls [OPTIONS]",
                                          .examples = "  hmvm snapshot ls\n"
                                                      "  hmvm snapshot ls --format json"});
  ls.Flag("-q,--quiet", ls->quiet, "Names only");
  AddFormat(ls, ls->json);
}

void AddSnapshotInspect(CommandGroup& group) {
  auto inspect = group.Add<SnapshotInspectOptions>({.name = "inspect",
                                                    .description = "Show what a snapshot is of, as JSON",
                                                    .usage = "snapshot inspect SNAPSHOT",
                                                    .examples = "  hmvm snapshot inspect before-upgrade\n"
                                                                "  hmvm snapshot inspect ./web.zst"});
  inspect.Word("SNAPSHOT", inspect->name, kSnapshotOrFile);
}

void AddSnapshotRm(CommandGroup& group) {
  auto rm = group.Add<SnapshotRmOptions>(
      {.name = "rm",
       .description = "Remove snapshots; diffs of them and containers that went on from them stay",
       .usage = "snapshot rm SNAPSHOT...",
       .examples = "  hmvm snapshot rm before-upgrade"});
  rm.Words("SNAPSHOT", rm->names, "Names");
}

void AddSnapshotExport(CommandGroup& group) {
  auto to_file = group.Add<SnapshotExportOptions>(
      {.name = "export",
       .description = "Put a snapshot into one compressed file; of a diff, all that it builds on, too",
       .usage = "snapshot export SNAPSHOT FILE",
       .examples = "  hmvm snapshot export before-upgrade web.zst\n"
                   "  hmvm snapshot export before-upgrade - | ssh other 'cat > web.zst'"});
  to_file.Word("SNAPSHOT", to_file->name, "Its name");
  to_file.Word("FILE", to_file->path, "Where to; - for standard output");
}

void AddSnapshotImport(CommandGroup& group) {
  auto import =
      group.Add<SnapshotImportOptions>({.name = "import",
                                        .description = "Take a snapshot from a file that `export` wrote",
                                        .usage = "snapshot import FILE [NAME]",
                                        .examples = "  hmvm snapshot import web.zst\n"
                                                    "  hmvm snapshot import web.zst before-upgrade"});
  import.Word("FILE", import->path, "The file");
  import.OptionalWord("NAME", import->name, "A name for the snapshot (default: the file's, without .zst)");
}

void AddSnapshotMerge(CommandGroup& group) {
  auto merge = group.Add<SnapshotMergeOptions>(
      {.name = "merge",
       .description = "Make a full snapshot of a diff and those that it builds on",
       .usage = "snapshot merge SNAPSHOT NAME",
       .examples =
           "  hmvm snapshot merge after-upgrade whole; hmvm snapshot rm before-upgrade after-upgrade"});
  merge.Word("SNAPSHOT", merge->name, "Its name");
  merge.Word("NAME", merge->merged, "A name for the full one");
}

}  // namespace

void AddSnapshot(CommandGroup& commands) {
  CommandGroup group = commands.AddGroup("snapshot", "Keep a running container as it is, to go on from later",
                                         "  hmvm snapshot create web before-upgrade\n"
                                         "  hmvm restore before-upgrade");
  AddSnapshotCreate(group);
  AddSnapshotLs(group);
  AddSnapshotInspect(group);
  AddSnapshotRm(group);
  AddSnapshotExport(group);
  AddSnapshotImport(group);
  AddSnapshotMerge(group);
}

void AddRestore(CommandGroup& commands) {
  auto restore = commands.Add<RestoreOptions>(
      {.name = "restore",
       .description = "Make a container that goes on from a snapshot",
       .usage = "restore [OPTIONS] SNAPSHOT",
       .examples = "  hmvm restore before-upgrade --name web-again\n"
                   "  hmvm restore ./web.zst        without unpacking it first"});
  restore.Word("SNAPSHOT", restore->snapshot, kSnapshotOrFile);
  restore.Option("--name", restore->name, "A name for the container");
}

void AddFork(CommandGroup& commands) {
  auto fork = commands.Add<ForkOptions>({.name = "fork",
                                         .description = "Make running copies of a running container",
                                         .usage = "fork [OPTIONS] CONTAINER",
                                         .examples = "  hmvm fork web\n"
                                                     "  hmvm fork -n 10 worker"});
  AddContainer(fork, fork->container);
  fork.Option("-n,--count", "1", "How many", [&number = fork->count](const std::string& typed) -> Result<> {
    const auto count = ParseNumber(typed);
    if (!count.has_value() || *count == 0 || *count > 1000) {
      return Error{0, "-n '" + typed + "': a number from 1 to 1000"};
    }
    number = static_cast<uint32_t>(*count);
    return {};
  });
}

}  // namespace hmvm
