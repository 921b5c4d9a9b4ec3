#include "runtime/container/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/file.h"
#include "base/folder.h"
#include "security/cell.h"

namespace hmvm {
namespace {

constexpr int kLostExitCode = 137;  // 128 + SIGKILL: what became of the processes of a machine that is gone
constexpr size_t kStateLimitBytes = 16 << 20;

bool IsContainerId(std::string_view name) {
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Exclusive among all processes that take it; released with the descriptor.
Result<UniqueFd> Lock(const std::string& folder) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(folder, O_RDONLY | O_DIRECTORY));
  while (::flock(fd.get(), LOCK_EX) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + folder + "'"};
  }
  return fd;
}

Result<ContainerRecord> ReadRecord(const std::string& path, const std::string& id) {
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(path, kStateLimitBytes));
  HMVM_TRY_ASSIGN(ContainerRecord record, DecodeContainerRecord(text));
  if (record.id != id) return Error{0, "it is another container's"};
  return record;
}

// One that goes with its end is of no use to anybody after a crash of the host, and what is being paused or
// resumed is written again in a moment.
Result<> WriteRecord(const std::string& folder, const ContainerRecord& record) {
  const Status status = record.status();
  const bool brief = record.config.auto_remove || status == Status::kPausing || status == Status::kResuming;
  return WriteFileAtomic(folder + "/state.json", EncodeContainerRecord(record), 0600,
                         brief ? Outlives::kThisProcess : Outlives::kCrashOfHost);
}

bool IsOrphan(const ContainerRecord& record) { return record.live() && !IsAlive(record.owner); }

bool IsOfAnother(const ContainerRecord& record) {
  return record.live() && record.owner.pid != ::getpid() && IsAlive(record.owner);
}

// What the event log keeps of a step beside its name.
std::map<std::string, std::string> DetailsOf(const ContainerRecord& record) {
  std::map<std::string, std::string> details;
  const Status status = record.status();
  if (status == Status::kRestarting || status == Status::kStopped || status == Status::kFailed) {
    details["exit_code"] = std::to_string(record.exit_code);
    if (!record.reason.empty()) details["reason"] = record.reason;
  }
  return details;
}

}  // namespace

Result<ContainerStore> ContainerStore::Open(const std::string& root, const std::string& run_root) {
  const std::string containers = root + "/containers";
  // Root file systems and sockets of containers are nobody else's to look at.
  HMVM_TRY(MakePrivateFolder(containers));
  HMVM_TRY(MakePrivateFolder(run_root));
  HMVM_TRY_ASSIGN(EventLog events, EventLog::Open(root + "/events"));
  return ContainerStore(containers, run_root, root + "/audit", std::move(events));
}

void ContainerStore::Sweep() const {
  const auto folder = OpenFile(containers_, O_RDONLY | O_DIRECTORY);
  if (folder.has_value() && ::flock(folder->get(), LOCK_EX | LOCK_NB) == 0) SweepLocked();
}

// With the lock held every .new-* and .gone-* is what a killed command left, and so is a run folder whose
// container is not there. A user id's lock goes as soon as nobody holds it, whichever store its machine was
// of.
void ContainerStore::SweepLocked() const {
  const auto containers = NamesIn(containers_);
  const auto run_folders = NamesIn(run_root_);
  if (!containers.has_value() || !run_folders.has_value()) return;
  for (const std::string& name : *containers) {
    if (name.starts_with(".new-") || name.starts_with(".gone-")) (void)RemoveTree(containers_ + "/" + name);
  }
  for (const std::string& name : *run_folders) {
    if (!IsContainerId(name) || ::access(Folder(name).c_str(), F_OK) == 0) continue;
    if (RemoveCell(name)) (void)RemoveTree(RunFolder(name));
  }
}

Result<> ContainerStore::Add(const ContainerRecord& record) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(containers_));
  SweepLocked();
  // A name made of the random id needs no look at all the others. One that was given may begin the id by
  // chance.
  if (record.name != record.id.substr(0, 12)) {
    HMVM_TRY_ASSIGN(const std::vector<Entry> entries, List());
    for (const Entry& other : entries) {
      if (other.record.name != record.name) continue;
      const std::string holder = other.record.id.substr(0, 12);
      return Error{0, "container name '" + record.name + "' is taken by " + holder +
                          "; choose another or `hmvm rm " + record.name + "` first"};
    }
  }
  const std::string fresh = containers_ + "/.new-" + record.id;
  HMVM_TRY(MakePrivateFolder(fresh));
  auto added = [&]() -> Result<> {
    HMVM_TRY(WriteRecord(fresh, record));
    HMVM_TRY(MakePrivateFolder(RunFolder(record.id)));
    HMVM_TRY(Tell(record, std::string(StatusName(record.status()))));
    if (::rename(fresh.c_str(), Folder(record.id).c_str()) < 0) {
      return Error{errno, "create folder '" + Folder(record.id) + "'"};
    }
    return {};
  }();
  if (!added.has_value()) {
    (void)RemoveTree(fresh);
    (void)RemoveTree(RunFolder(record.id));
  }
  return added;
}

Result<> ContainerStore::Enter(ContainerRecord& record, Status next) const {
  const std::vector<ContainerEvent> before = record.events;
  auto entered = [&]() -> Result<> {
    HMVM_TRY(record.Enter(next));
    HMVM_TRY(Save(record));
    return Tell(record, std::string(StatusName(next)), DetailsOf(record));
  }();
  if (!entered.has_value() && record.events != before) {
    record.events = before;
    (void)Save(record);
  }
  return entered;
}

Result<> ContainerStore::End(ContainerRecord& record, Status end) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(Folder(record.id)));
  HMVM_TRY(Enter(record, end));
  return RemoveTree(RunFolder(record.id));
}

Result<> ContainerStore::Tell(const ContainerRecord& record, const std::string& action,
                              std::map<std::string, std::string> details) const {
  Event event = NewEvent(action, record.id, record.name, record.config.image);
  event.details = std::move(details);
  return events_.Append(event);
}

Result<ContainerRecord> ContainerStore::Claim(const std::string& id) const {
  const Error removed{0, "container " + id.substr(0, 12) + " has been removed meanwhile"};
  const auto lock = Lock(Folder(id));
  if (!lock.has_value()) return lock.error().code == ENOENT ? removed : lock.error();
  auto read = ReadRecord(Folder(id) + "/state.json", id);
  if (!read.has_value()) return read.error().code == ENOENT ? removed : read.error();
  ContainerRecord record = std::move(*read);
  // From both a step to Starting is legal, but their owner's.
  const bool owned = record.live() && IsAlive(record.owner);
  if (owned && record.status() == Status::kCreated) {
    return Error{EBUSY, "container '" + record.name + "' is being started by another command"};
  }
  if (owned && record.status() == Status::kRestarting) {
    return Error{EBUSY, "container '" + record.name + "' is restarting already"};
  }
  record.owner = *IdentifyProcess(::getpid());
  record.vmm = {};
  record.exit_code = 0;
  record.reason.clear();
  record.restarts = 0;
  if (const std::string why = WhyIllegal(record.status(), Status::kStarting); !why.empty()) {
    return Error{EBUSY, "container '" + record.name + "' " + why};
  }
  // A supervisor that was killed has left its sockets, and its VMM may have been on its way out until now.
  RemoveCell(id);
  HMVM_TRY(RemoveTree(RunFolder(id)));
  HMVM_TRY(MakePrivateFolder(RunFolder(id)));
  HMVM_TRY(Enter(record, Status::kStarting));
  return record;
}

Result<ContainerRecord> ContainerStore::Bury(const std::string& id) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(Folder(id)));
  HMVM_TRY_ASSIGN(ContainerRecord record, ReadRecord(Folder(id) + "/state.json", id));
  if (!IsOrphan(record)) return record;  // another command was faster
  record.reason = record.status() == Status::kCreated
                      ? "the command that created it was killed"
                      : "its supervisor (pid " + std::to_string(record.owner.pid) + ") was killed";
  record.exit_code = kLostExitCode;
  RemoveCell(id);
  // Where it can't be written, it is told all the same.
  if (auto entered = Enter(record, Status::kFailed); !entered.has_value())
    (void)record.Enter(Status::kFailed);
  return record;
}

Result<> ContainerStore::Save(const ContainerRecord& record) const {
  return WriteRecord(Folder(record.id), record);
}

ContainerStore::Entry ContainerStore::Read(const std::string& id) const {
  Entry entry;
  const std::string path = Folder(id) + "/state.json";
  Result<ContainerRecord> record = ReadRecord(path, id);
  // It reads the file again: the owner may have written its last word and ended between the two.
  if (record.has_value() && IsOrphan(*record)) record = Bury(id);
  if (record.has_value()) {
    entry.record = std::move(record).value();
  } else {
    entry.record = NewContainerRecord(id, "", {});
    entry.record.events.back() = {.status = Status::kFailed, .unix_ns = 0, .monotonic_ns = 0};
    entry.problem = "state file '" + path + "' can't be used: " + record.error().Message();
    entry.record.reason = entry.problem;
  }
  return entry;
}

Result<ContainerRecord> ContainerStore::Load(const std::string& id) const {
  if (::access(Folder(id).c_str(), F_OK) < 0) return Error{ENOENT, "container " + id.substr(0, 12)};
  Entry entry = Read(id);
  if (!entry.problem.empty()) return Error{0, entry.problem};
  return entry.record;
}

Result<std::vector<ContainerStore::Entry>> ContainerStore::List() const {
  HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(containers_));
  std::vector<Entry> entries;
  for (const std::string& name : names) {
    if (!IsContainerId(name)) continue;
    Entry entry = Read(name);
    // Removed while we looked.
    if (!entry.problem.empty() && ::access(Folder(name).c_str(), F_OK) < 0) continue;
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.record.created_unix_ns() > b.record.created_unix_ns();
  });
  return entries;
}

Result<ContainerStore::Entry> ContainerStore::FindEntry(const std::string& name_or_id) const {
  if (IsContainerId(name_or_id) && ::access(Folder(name_or_id).c_str(), F_OK) == 0) return Read(name_or_id);
  // Most are called like the beginning of their id: no need to read thousands of others.
  HMVM_TRY_ASSIGN(const std::vector<std::string> ids, NamesIn(containers_));
  for (const std::string& id : ids) {
    if (name_or_id.empty() || !id.starts_with(name_or_id) || !IsContainerId(id)) continue;
    if (Entry entry = Read(id); entry.record.name == name_or_id) return entry;
  }
  HMVM_TRY_ASSIGN(std::vector<Entry> entries, List());
  std::vector<Entry*> matches;
  for (Entry& entry : entries) {
    if (entry.record.name == name_or_id) return std::move(entry);
    if (!name_or_id.empty() && entry.record.id.starts_with(name_or_id)) matches.push_back(&entry);
  }
  if (matches.size() == 1) return std::move(*matches.front());
  if (matches.empty()) return Error{0, "no container '" + name_or_id + "'; `hmvm ps -a` lists all"};
  std::string candidates;
  for (const Entry* match : matches) candidates += " " + match->record.id.substr(0, 12);
  return Error{0, "'" + name_or_id + "' is the beginning of several containers' ids:" + candidates};
}

Result<ContainerRecord> ContainerStore::Find(const std::string& name_or_id) const {
  HMVM_TRY_ASSIGN(Entry entry, FindEntry(name_or_id));
  if (!entry.problem.empty()) return Error{0, entry.problem + "; `hmvm rm -f` removes the container"};
  return std::move(entry.record);
}

Result<> ContainerStore::RemoveFolder(const std::string& id) const {
  const auto lock = Lock(Folder(id));  // else `start` could claim it between the look and the rename
  if (!lock.has_value() && lock.error().code != ENOENT) return lock.error();
  const auto record = ReadRecord(Folder(id) + "/state.json", id);
  if (record.has_value() && IsOfAnother(*record)) {
    return Error{EBUSY, "container '" + record->name + "' is " + std::string(StatusName(record->status())) +
                            ": stop it first, or use rm -f"};
  }
  const std::string gone = containers_ + "/.gone-" + id;
  if (::rename(Folder(id).c_str(), gone.c_str()) < 0 && errno != ENOENT) {
    return Error{errno, "remove folder '" + Folder(id) + "'"};
  }
  if (record.has_value()) (void)Tell(*record, "removed");  // gone it is, told or not
  return RemoveTree(gone);
}

Result<> ContainerStore::EndAndRemove(ContainerRecord& record, Status end) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(containers_));
  HMVM_TRY(Enter(record, end));
  return RemoveFolder(record.id);
}

Result<> ContainerStore::Remove(const std::string& id) const {
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(containers_));
  HMVM_TRY(RemoveFolder(id));
  // The VMM of a killed supervisor may be on its way out; where it takes its time its run folder is the sign
  // for the next who sweeps.
  constexpr std::chrono::seconds kEnding{5};
  if (RemoveCell(id, kEnding)) HMVM_TRY(RemoveTree(RunFolder(id)));
  SweepLocked();
  return {};
}

}  // namespace hmvm
