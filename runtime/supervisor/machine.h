#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/process.h"
#include "base/result.h"
#include "base/ttrpc/client.h"
#include "base/unique_fd.h"
#include "runtime/container/record.h"
#include "runtime/supervisor/tail_capture.h"
#include "security/cell.h"
#include "security/guard/guarded_vm.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm {

// A snapshot that a machine goes on from in place of booting.
struct MachineSnapshot {
  UniqueFd state;                // machine.pb
  std::vector<UniqueFd> memory;  // the full one first, then the diffs upon it
  UniqueFd archive;              // an exported one, in place of both
  // Of a template: whether its memory has been read and found whole, and not been written to since; notes
  // that it was found so.
  std::function<bool()> known_whole;
  std::function<void()> note_whole;
  // Of a template: the pages that its machines write to, as the VMM has told; none: it is to be told, once.
  UniqueFd working_set;
  std::function<void(const std::string& working_set)> keep_working_set;
  // Of a template that turned out to be of no use: removes it.
  std::function<void()> discard;
  // Of a template, whose machine may have more: how many processors the container gets. 0: as the snapshot.
  uint32_t cpus = 0;
  // ... and how much memory, of which so much is added to what its machine was booted with. 0: as the
  // snapshot.
  uint32_t memory_mib = 0;
  uint64_t added_bytes = 0;
};

// What a machine is made of, already open.
struct MachineFiles {
  std::string vmm_program;
  std::optional<MachineSnapshot> snapshot;
  UniqueFd kernel;
  UniqueFd initrd;
  UniqueFd rootfs;  // EROFS
};

// What the eBPF guard is to do for a machine.
struct GuardWishes {
  bool required = false;  // no machine without it
  std::function<void(const GuardEvent&)> on_event = {};
  std::function<void(std::function<void()>)> in_background = {};  // as of GuardedVm
};

// The last line that hmvm-vmm wrote to its standard error, without glog's "E1123 10:11:12.123456 77
// file.cc:12] ".
std::string_view LastLogMessage(std::string_view log);

// The VMM knows a file by its number, 'fd:N', the user by its name: that takes the number's place in
// `message`.
void NameFile(std::string& message, int fd, const std::string& name);

// One hmvm-vmm process and what it says. Belongs to the loop's thread, which must be the thread that lives
// longest: the VMM dies with it.
class Machine {
 public:
  // Starts the VMM in the cgroup of container `id`, from files.snapshot if there is one and `boot` does not
  // forbid it; `on_end` is called once, on the loop, when it has ended and was reaped. EACCES, ENOENT: the
  // program can't be executed.
  static Result<std::unique_ptr<Machine>> Start(EventLoop& loop, const std::string& id,
                                                const ContainerConfig& config, const MachineFiles& files,
                                                bool boot, UniqueFd vsock_listener, const GuardWishes& guard,
                                                std::function<void()> on_end);
  // Kills the VMM if it runs.
  ~Machine();

  // Our end of the agent's channel. Once.
  UniqueFd TakeAgentSocket() { return std::move(agent_); }

  // See Cgroup. On the loop.
  Result<LiftedCpuQuota> LiftCpuQuota() const { return cell_.cgroup().LiftCpuQuota(); }

  // What the VMM says of itself. Blocks, a second at most; from any thread.
  Result<vmm::v1::DescribeResponse> Describe() const;

  // Holds the machine, and lets it go. Blocks; from any thread. EBUSY: it is held already, or is not.
  Result<> Pause() const;
  Result<> Resume() const;

  // Before a snapshot into `folder` is written. What the VMM writes to a file system in memory counts as its
  // own, as long as it lives, and the kernel would kill it at its limit: there it is allowed that much more.
  // On the loop.
  Result<> MakeRoomForSnapshot(const std::string& folder, uint64_t memory_bytes) const;

  // A snapshot into two empty files in two steps, as vmm.proto has them; the machine goes on. Both block;
  // from any thread, one at a time.
  Result<> PrepareSnapshot(const UniqueFd& state, const UniqueFd& memory,
                           const vmm::v1::SnapshotRequest& request) const;
  Result<vmm::v1::SnapshotResponse> Snapshot(const vmm::v1::SnapshotRequest& request) const;

  // The pages that the machine has written to since it was restored. Blocks, a second at most; from any
  // thread.
  Result<vmm::v1::WorkingSet> WorkingSet() const;

  pid_t pid() const { return process_.pid(); }
  bool ended() const { return ended_; }
  // Ends the machine as if the power were cut. All its state is in memory, so nothing is lost by SIGKILL that
  // an orderly end would keep.
  void Kill();

  // After the end: whether that was an error of its own, or a breach, whoever else wanted its end by then.
  bool Failed() const;
  // After the end: a sentence that says why.
  std::string EndReason(const ContainerConfig& config) const;
  // Why the guard does not watch it; empty: it does.
  const std::string& guard_problem() const { return guard_problem_; }
  const std::string& console() const { return console_->text(); }
  const std::string& vmm_log() const { return log_->text(); }

 private:
  Machine() = default;
  Result<> OnExit();
  std::string SetUpError(const ContainerConfig& config) const;
  Result<> Guard(EventLoop& loop, const std::string& id, const GuardWishes& wishes,
                 std::span<const SyscallRule> further, bool audit);

  Cell cell_;
  std::unique_ptr<GuardedVm> guard_;
  std::function<void(const GuardEvent&)> on_breach_;
  std::string guard_problem_;
  Process process_;
  std::unique_ptr<TtrpcClient> control_;  // its closing ends the machine, too
  UniqueFd agent_;
  UniqueFd files_;                         // for the files of snapshots
  std::string state_name_ = "machine.pb";  // what it is restored from, for errors
  std::unique_ptr<TailCapture> console_;
  std::unique_ptr<TailCapture> log_;
  std::function<void()> on_end_;
  Watch exit_watch_;
  bool ended_ = false;
  int wait_status_ = 0;
};

}  // namespace hmvm
