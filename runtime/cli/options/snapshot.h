// Running containers kept and copied: snapshot and its commands, restore, fork.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hmvm {

class CommandGroup;

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

void AddSnapshot(CommandGroup& commands);
void AddRestore(CommandGroup& commands);
void AddFork(CommandGroup& commands);

}  // namespace hmvm
