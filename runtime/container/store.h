// The containers of one installation on disk:
//   <root>/containers/<id>/       state.json, container.log, and after a failure console.log and vmm.log
//   <root>/events/                what happened to all of them (events/event_log.h)
//   <root>/audit/                 what security has met (security/guard/audit_log.h)
//   <run-root>/<id>/              supervisor.sock, vsock.sock
// Folders appear and go by rename, so a command that is killed half-way leaves a whole container, none, or a
// folder whose name begins with a dot, which the next command that changes or lists the store sweeps away.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/container/record.h"
#include "runtime/events/event_log.h"

namespace hmvm {

class ContainerStore {
 public:
  // What reading one folder gave: a record, or why there is none (`record.id` is set in any case).
  struct Entry {
    ContainerRecord record;
    std::string problem;  // empty: the record is whole
  };

  // Makes the folders (0700) where they are not there.
  static Result<ContainerStore> Open(const std::string& root, const std::string& run_root);

  // Adds a new container: state file and both folders, all or nothing. A name that is taken is an error that
  // says by whom.
  Result<> Add(const ContainerRecord& record) const;

  // The one way in which a container changes its status. A legal step is written, with all else that is new
  // in the record, to the state file and then to the event log before this returns. EBUSY: an illegal one.
  // After an error the record has the status it had. For the container's owner.
  Result<> Enter(ContainerRecord& record, Status next) const;
  // The last step of a supervisor: Stopped or Failed, and no socket is left. One step for Claim.
  Result<> End(ContainerRecord& record, Status end) const;
  // Writes what is new in the record beside its status. For the container's owner.
  Result<> Save(const ContainerRecord& record) const;
  // Takes a container that does not run for the calling process, which starts it: Starting from now on.
  // EBUSY: it runs, or another process was faster.
  Result<ContainerRecord> Claim(const std::string& id) const;
  // Tells the event log what is no change of status.
  Result<> Tell(const ContainerRecord& record, const std::string& action,
                std::map<std::string, std::string> details = {}) const;

  // The state as it is written. What a crash has made of it is told truthfully, and written by whoever sees
  // it first: a container that should be up but whose owner has died is Failed, with the reason.
  Result<ContainerRecord> Load(const std::string& id) const;
  // All containers, the newest first. Damaged ones come with their problem.
  Result<std::vector<Entry>> List() const;
  // By name, id or unambiguous beginning of an id.
  Result<ContainerRecord> Find(const std::string& name_or_id) const;
  // The same for rm -f, which must also find damaged ones.
  Result<Entry> FindEntry(const std::string& name_or_id) const;

  // Removes both folders, and what a crash left of cgroups. EBUSY: another process owns it and runs it,
  // perhaps only since the caller has looked.
  Result<> Remove(const std::string& id) const;
  // The last step of one that nobody finds any more from then on, while its machine is still being taken
  // apart. The run folder stays, by which Sweep finds what a crash leaves of it; Remove follows.
  Result<> EndAndRemove(ContainerRecord& record, Status end) const;
  // Removes what killed commands left. Nothing while another command changes the store.
  void Sweep() const;
  const EventLog& events() const { return events_; }
  // Of security's audit log (security/guard/audit_log.h).
  const std::string& AuditFolder() const { return audit_; }
  std::string Folder(const std::string& id) const { return containers_ + "/" + id; }
  std::string LogPath(const std::string& id) const { return Folder(id) + "/container.log"; }
  std::string RunFolder(const std::string& id) const { return run_root_ + "/" + id; }
  std::string SupervisorSocket(const std::string& id) const { return RunFolder(id) + "/supervisor.sock"; }
  std::string VsockSocket(const std::string& id) const { return RunFolder(id) + "/vsock.sock"; }

 private:
  ContainerStore(std::string containers, std::string run_root, std::string audit, EventLog events)
      : containers_(std::move(containers)),
        run_root_(std::move(run_root)),
        audit_(std::move(audit)),
        events_(std::move(events)) {}

  // Both with the lock held.
  void SweepLocked() const;
  Result<> RemoveFolder(const std::string& id) const;
  Entry Read(const std::string& id) const;
  // The truth about a container whose owner died while it was up.
  Result<ContainerRecord> Bury(const std::string& id) const;

  std::string containers_;
  std::string run_root_;
  std::string audit_;
  EventLog events_;
};

}  // namespace hmvm
