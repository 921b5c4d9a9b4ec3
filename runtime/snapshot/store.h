// The snapshots of containers on disk: <root>/snapshots/<name>/ with machine.pb and memory, the machine, and
// container.json, what of the container is not in it. A snapshot is there whole or not at all.
//
// A diff has in its folder the memory of those that it builds on, as hard links: memory.0, the full one,
// memory.1 and so on. So each snapshot stands for itself, and its parent may go at any time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/container/record.h"

namespace hmvm {

// What is needed beside the machine to go on as a container.
struct SnapshotContainer {
  ContainerRecord origin;  // as it was
  std::string guest_id;    // what the container is called in its guest
  // Ids of the first process's streams, as of guest/api/agent.proto.
  uint64_t stdin_stream = 0;
  uint64_t stdout_stream = 0;
  uint64_t stderr_stream = 0;
};

std::string EncodeSnapshotContainer(const SnapshotContainer& container);
Result<SnapshotContainer> DecodeSnapshotContainer(std::string_view text);

// Of one that comes from a file, and so from anybody: what its monitor may do on this host the file does not
// say. It is held as any other, by the default profile.
void TakeNoMonitorPolicy(SnapshotContainer& container);

// A snapshot's files, open for reading.
struct SnapshotFiles {
  UniqueFd machine;
  std::vector<UniqueFd> memory;  // the full one first, then the diffs upon it
  SnapshotContainer container;
};

// As many as a chain may have: a restore maps all of them.
inline constexpr size_t kMaxSnapshotChain = 32;

struct SnapshotInfo {
  std::string name;
  int64_t taken_unix_ns = 0;
  uint64_t disk_bytes = 0;  // without its parents'
  // Of a diff: the names of those that it builds on, the full one first; empty for one that was removed.
  std::vector<std::string> parents;
  std::string container;  // the origin's name
  std::string image;
  std::string problem;  // empty: it is whole, as far as can be seen without reading all of it
};

class SnapshotStore {
 public:
  explicit SnapshotStore(std::string folder) : folder_(std::move(folder)) {}

  // A folder for a snapshot to be written into; removed unless it was committed.
  class Draft {
   public:
    Draft(Draft&& other) noexcept;
    Draft& operator=(Draft&&) = delete;
    ~Draft();

    // There, and empty.
    std::string folder() const { return folder_ + "/snapshot"; }
    // What is written will be a diff of snapshot `parent`. ENOENT: there is none. EMFILE: its chain is too
    // long.
    Result<> BuildUpon(const std::string& parent) const;
    // Does TakeNoMonitorPolicy to what has been written.
    Result<> TakeNoMonitorPolicy() const;
    // Opens what has been written; it stays readable when the draft is gone.
    Result<SnapshotFiles> Open() const;
    // fsyncs and gives it its name. EEXIST: the name is taken.
    Result<> Commit(const std::string& name) const;

   private:
    friend class SnapshotStore;
    Draft(const SnapshotStore& store, std::string folder, UniqueFd lock);
    const SnapshotStore* store_;  // none: moved away
    std::string folder_;
    UniqueFd lock_;  // says that somebody is at work here
  };
  Result<Draft> Begin() const;

  // Names are as of containers. ENOENT: there is none.
  Result<SnapshotFiles> Open(const std::string& name) const;
  Result<SnapshotInfo> Find(const std::string& name) const;
  Result<std::vector<SnapshotInfo>> List() const;  // the newest first
  Result<> Remove(const std::string& name) const;
  std::string Folder(const std::string& name) const { return folder_ + "/" + name; }

 private:
  Result<> CheckThere(const std::string& name) const;  // ENOENT
  Result<UniqueFd> Sweep() const;
  void NameParents(std::vector<SnapshotInfo>& infos) const;
  SnapshotInfo Read(const std::string& name) const;

  std::string folder_;
};

}  // namespace hmvm
