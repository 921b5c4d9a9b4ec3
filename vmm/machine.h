// A machine from its files to its end: assembles platform, memory and devices, runs the vCPUs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "security/syscall_rules.h"
#include "vmm/devices/bus.h"
#include "vmm/devices/exit_port.h"
#include "vmm/devices/serial.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/statistics.h"
#include "vmm/machine_host.h"
#include "vmm/memory/dirty_pages.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/platform.h"
#include "vmm/platform_choice.h"
#include "vmm/snapshot/lazy_loader.h"
#include "vmm/snapshot/machine_state.pb.h"
#include "vmm/snapshot/memory_saver.h"
#include "vmm/virtio/mmio_transport.h"
#include "vmm/virtio/rate_limiter.h"

namespace hmvm {

// An open file and what to call it in an error.
struct NamedFile {
  std::string name;
  UniqueFd fd;
};

struct DiskConfig {
  NamedFile file;  // its descriptor is none: an empty drive
  bool read_only = true;
  IoLimits limits = {};
};

// A snapshot to go on from: a folder's files, or an exported one.
struct RestoreConfig {
  // How many of the snapshot's vCPUs there are to be; the others must be off, and are gone. None: all.
  std::optional<uint32_t> cpus;
  // How much memory there is to be, what the guest was booted with included; none: as much as there was. Only
  // a guest that was booted with room for more takes another number.
  std::optional<uint64_t> memory_mib;
  NamedFile state;                // machine.pb
  std::vector<NamedFile> memory;  // the full file first, then the diffs upon it
  bool memory_verified = false;   // it has been restored before, and the files have not been changed since
  // In place of both; its memory is unpacked where and when it is touched.
  std::optional<NamedFile> archive;
  PageRuns working_set;  // that earlier restores have written to: prepared beside all else
  // The archive turns out to be damaged, or can't be read any more: called from a thread of the machine's,
  // while others wait for memory and can't be stopped. It must not return.
  std::function<void(const Error&)> on_memory_lost;
};

struct MachineConfig {
  std::optional<HostAccess> host;  // never none
  // Each thread's first call, with its role, and then that of Start()'s caller: what follows is held to the
  // role's system calls. No thread serves before all have made it.
  std::function<Result<>(ThreadRole)> enter_role;
  NamedFile kernel;
  std::optional<NamedFile> initrd;
  std::string command_line;  // appended to the machine's own
  uint32_t cpus = 1;
  uint64_t memory_mib = 256;
  uint64_t memory_limit_mib = 0;  // up to which a restore may add; 0: none
  PlatformChoice platform = PlatformChoice::kAuto;
  std::vector<DiskConfig> disks;  // /dev/vda, vdb, ...
  UniqueFd vsock_listener;        // see Vsock; none is allowed
  UniqueFd agent;
  uint64_t guest_cid = 3;
  UniqueFd console;  // output of the serial port and virtio-console; none: dropped
  // In place of kernel, initrd, command_line, cpus, memory_mib and guest_cid.
  std::optional<RestoreConfig> restore;
};

// What snapshot is wanted, and where: two empty files, which stay the caller's.
struct SnapshotTarget {
  int state_file = -1;
  int memory_file = -1;
  bool live = false;                    // see MemorySaver
  std::optional<MemoryFileId> diff_of;  // the last snapshot's
  bool passing = false;                 // see MemorySaver
  bool prepared = false;                // PrepareSnapshot() was called with it
  bool stop_after = false;  // without an error the machine ends there, and executes no more of the guest
};

struct SnapshotReport {
  uint64_t pause_ns = 0;  // how long the guest did not run; 0 when it was paused anyway
  uint64_t bytes_written = 0;
  MemoryFileId memory_id = {};
  MemorySaveReport memory;
};

// How the machine ended, with a report of several lines after a KVM error.
struct MachineOutcome {
  MachineEnd end = MachineEnd::kPowerOff;
  std::string report;
};

// Threads: one a vCPU ("vcpu0"...), one for all devices ("devices"). The caller's thread makes, starts and
// joins; Stop() and the descriptions are thread-safe.
class Machine {
 public:
  // Opens KVM, makes everything and loads the guest. The error names the thing that is wrong and, where the
  // user chose it, what would be right.
  static Result<std::unique_ptr<Machine>> Create(MachineConfig config);
  // The same for a machine that goes on from config.restore. The files stay as they are and must do so as
  // long as the machine lives: its memory is mapped from them. The error says what does not fit, or is
  // damaged.
  static Result<std::unique_ptr<Machine>> Restore(MachineConfig config);
  // Ends and joins.
  ~Machine();

  // Starts the threads and becomes the control thread. `on_end` is called once, from any thread, when the
  // machine has ended; then Wait() no longer blocks for the guest's sake. `paused`: as after Pause(); no
  // instruction is executed before Resume().
  Result<> Start(std::function<void()> on_end, bool paused = false);
  // Ends the machine as if the power were cut.
  void Stop() { End(MachineEnd::kPowerOff, ""); }
  // Holds all vCPUs and the device thread: when it returns, no instruction of the guest runs and no device
  // does anything, until Resume(). The guest's clocks go on, as the host's do. EBUSY: it is paused, or has
  // ended. Both from one thread, which is none of the machine's own.
  Result<> Pause();
  // EBUSY: it is not paused.
  Result<> Resume();
  // What of a live snapshot is done while the guest runs. An error, or no Snapshot() after it, does no harm.
  Result<> PrepareSnapshot(const SnapshotTarget& target);
  // Writes all there is of the machine into files, held meanwhile (live: at the end); they are not fsynced. A
  // machine that is paused stays so. With an error, the machine goes on and the files are of no use.
  Result<SnapshotReport> Snapshot(const SnapshotTarget& target);
  // Of a restored machine: see CollectWorkingSet().
  Result<PageRuns> WorkingSet() const;
  bool is_paused() const;
  // Blocks until the end, joins all threads.
  MachineOutcome Wait();

  std::string_view platform_name() const { return platform_->Name(); }
  uint32_t cpus() const { return static_cast<uint32_t>(platform_->vcpus().size()); }
  uint64_t memory_bytes() const { return memory_.size_bytes(); }
  uint64_t running_monotonic_ns() const { return running_monotonic_ns_; }  // first KVM_RUN; 0: not yet
  // All counters of platform and devices, and KVM's, all vCPUs together, as "kvm.NAME"; sorted by name.
  std::vector<std::pair<std::string, uint64_t>> Counters() const;

 private:
  Machine(HostAccess host, std::function<Result<>(ThreadRole)> enter_role, Vm vm, GuestMemory memory)
      : host_(std::move(host)),
        enter_role_(std::move(enter_role)),
        vm_(std::move(vm)),
        memory_(std::move(memory)) {}

  Result<> AddRam();
  Result<> ChoosePlatform(PlatformChoice choice, uint32_t cpus);
  Result<> MakePlatform(PlatformChoice choice, uint32_t cpus, bool emulated_ring0, bool restored);
  Result<> RestorePlatform(PlatformChoice wish, std::optional<uint32_t> cpus,
                           const snapshot::MachineState& state);
  Result<> RestoreDevices(const snapshot::MachineState& state);
  std::vector<GuestMemory::Region> MemoryAreas() const;
  // `mapped`: what of memory came from files.
  void MakeMemorySaver(std::optional<MemoryOrigin> origin);
  Result<snapshot::MachineState> SaveState() const;
  Result<> FinishSnapshot(snapshot::MachineState state, int state_file, SnapshotReport& report);
  void OpenStatistics();
  Result<> AddPortDevices();
  Result<> AddVirtioDevices(MachineConfig& config);
  Result<> AddVirtioDevice(std::unique_ptr<VirtioDevice> device);
  void RunVcpu(Vcpu& vcpu);
  bool TakeTurn(const Vcpu& vcpu, Result<VcpuTurn> turn);
  void WaitWhilePaused();
  void RunDevices();
  void End(MachineEnd end, std::string report);
  // A worker's first call: the beginning of its thread makes system calls that end with the seal.
  Result<> EnterWorker();

  // In the order of dependency: what is below uses what is above.
  HostAccess host_;
  const std::function<Result<>(ThreadRole)> enter_role_;
  Vm vm_;
  GuestMemory memory_;
  Bus mmio_;
  Bus ports_;
  uint32_t booted_cpus_ = 0;  // as many as the guest was booted with
  std::string kernel_name_;
  snapshot::HostFit host_fit_;
  UniqueFd console_;
  std::unique_ptr<EventLoop> device_loop_;
  std::unique_ptr<Platform> platform_;
  std::unique_ptr<InterruptLine> serial_interrupt_;
  std::unique_ptr<Serial> serial_;
  std::unique_ptr<ExitPort> exit_port_;
  std::unique_ptr<KeyboardController> keyboard_controller_;
  std::vector<std::unique_ptr<MmioTransport>> transports_;
  std::vector<KvmStatistics> statistics_;    // of the VM and each vCPU; none on old kernels
  std::shared_ptr<const ProbeVm> probe_vm_;  // until the device thread has the time to end it
  std::string device_command_line_;          // "virtio_mmio.device=..." for each of them
  std::unique_ptr<DirtyPages> dirty_pages_;
  std::unique_ptr<MemorySaver> memory_saver_;
  bool restored_ = false;
  std::jthread working_set_;          // prepares it
  std::optional<NamedFile> archive_;  // that the loader reads
  std::unique_ptr<LazyLoader> loader_;

  std::atomic<uint64_t> running_monotonic_ns_ = 0;
  std::atomic<int> workers_beginning_ = 0;  // made before Start(), which waits until they have their role
  std::unique_ptr<std::latch> entered_;     // the threads have, their roles
  std::latch may_serve_{1};
  std::atomic<bool> ended_ = false;
  std::atomic<bool> pause_wanted_ = false;  // paused_, for the vCPU threads to look at each turn
  std::function<void()> on_end_;
  mutable std::mutex mutex_;
  std::optional<MachineOutcome> outcome_;  // guarded by mutex_, as are these three
  std::condition_variable pause_changed_;
  bool paused_ = false;
  size_t held_threads_ = 0;  // in WaitWhilePaused()
  std::vector<std::thread> threads_;
};

}  // namespace hmvm
