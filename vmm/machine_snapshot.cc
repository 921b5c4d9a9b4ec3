// A machine into files, and out of them again.
#include <time.h>

#include <algorithm>
#include <future>
#include <utility>

#include "base/file.h"
#include "security/fd_class.h"
#include "vmm/api/added_memory.h"
#include "vmm/kvm/write_log.h"
#include "vmm/machine.h"
#include "vmm/machine_host.h"
#include "vmm/memory/working_set.h"
#include "vmm/snapshot/archive.h"
#include "vmm/snapshot/host_fit.h"
#include "vmm/snapshot/memory_map.h"
#include "vmm/snapshot/memory_mapper.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/virtio/mem.h"

namespace hmvm {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kMostAddedBytes = uint64_t{1} << 44;  // no sum with it can wrap

uint64_t NowNs(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Result<> CheckDisks(const snapshot::MachineState& state, size_t given) {
  const auto saved = std::ranges::count_if(state.virtio(), &snapshot::VirtioState::has_blk);
  if (std::cmp_equal(saved, given)) return {};
  return Error{0, "the snapshot's machine has " + std::to_string(saved) + " disks, and " +
                      std::to_string(given) + " are given"};
}

// What the guest has, or is to have, beside the memory that it was booted with.
Result<GuestMemory::Added> AddedMemory(const snapshot::MachineState& state,
                                       std::optional<uint64_t> memory_mib) {
  const auto mem = std::ranges::find_if(state.virtio(), &snapshot::VirtioState::has_mem);
  GuestMemory::Added added;
  if (mem != state.virtio().end()) added = {mem->mem().added_bytes(), mem->mem().region_bytes()};
  if (added.bytes % Mem::kBlockBytes != 0 || added.region_bytes % Mem::kRegionUnitBytes != 0 ||
      added.region_bytes > kMostAddedBytes) {
    return Error{EINVAL, "memory was added to the snapshot's machine in a way that can't be"};
  }
  if (!memory_mib.has_value()) return added;
  const uint64_t booted_mib = state.memory_bytes() / kMiB;
  if (*memory_mib < booted_mib + added.bytes / kMiB || *memory_mib - booted_mib > added.region_bytes / kMiB) {
    return Error{0, "memory of " + std::to_string(*memory_mib) + " MiB: the snapshot's machine can have " +
                        std::to_string(booted_mib + added.bytes / kMiB) + " to " +
                        std::to_string(booted_mib + added.region_bytes / kMiB)};
  }
  added.bytes = AddedMemoryBytes(booted_mib, *memory_mib);
  return added;
}

// The guest knows its own address.
uint64_t GuestCid(const snapshot::MachineState& state) {
  const auto vsock = std::ranges::find_if(state.virtio(), &snapshot::VirtioState::has_vsock);
  return vsock == state.virtio().end() ? 0 : vsock->vsock().guest_cid();
}

std::string_view NameOf(PlatformChoice choice) {
  return choice == PlatformChoice::kHardware ? "hardware"
         : choice == PlatformChoice::kRing3  ? "ring3"
                                             : "auto";
}

// The archive's frames are verified as they are unpacked, by its own manifest: that must be the machine's.
Result<snapshot::MachineState> StateOf(const Archive& archive) {
  const auto file = std::ranges::find(archive.files(), "machine.pb", &ArchiveFile::name);
  if (file == archive.files().end()) return Error{EINVAL, "the exported snapshot has no machine.pb"};
  HMVM_TRY_ASSIGN(snapshot::MachineState state, DecodeState(file->content));
  HMVM_TRY_ASSIGN(const MemoryMap map, MemoryMap::FromManifest(state.memory()));
  if (map.files().back().id != archive.memory().files()[0].id) {
    return Error{EINVAL, "the exported snapshot's machine.pb is of another memory"};
  }
  return state;
}

}  // namespace

Result<std::unique_ptr<Machine>> Machine::Restore(MachineConfig config) {
  // What the snapshot says, before anything is made of it.
  RestoreConfig& source = *config.restore;
  std::optional<Archive> archive;
  if (source.archive) {
    HMVM_TRY_ASSIGN(archive, Archive::Open(source.archive->fd.get(), source.archive->name));
    source.state.name = source.archive->name;
  }
  HMVM_TRY_ASSIGN(const snapshot::MachineState state,
                  archive ? StateOf(*archive) : ReadState(source.state.fd.get(), source.state.name));
  HMVM_TRY_ASSIGN(const MemoryMap map, MemoryMap::FromManifest(state.memory()));
  HMVM_TRY_ASSIGN(const GuestMemory::Added added, AddedMemory(state, source.memory_mib));
  HMVM_TRY(CheckHostMemory(state.memory_bytes()));
  HMVM_TRY(CheckHostMemory(state.memory_bytes() + added.bytes));
  HMVM_TRY(CheckDisks(state, config.disks.size()));
  config.guest_cid = GuestCid(state);

  // The virtual machine and its memory.
  HMVM_TRY_ASSIGN(Vm vm, config.host->kvm.CreateVm());
  HMVM_TRY_ASSIGN(GuestMemory memory, GuestMemory::Create(state.memory_bytes(), added));
  std::unique_ptr<Machine> machine(
      new Machine(std::move(*config.host), std::move(config.enter_role), std::move(vm), std::move(memory)));
  machine->console_ = std::move(config.console);
  machine->kernel_name_ = state.kernel();
  HMVM_TRY_ASSIGN(machine->device_loop_, EventLoop::Create(PlacedIn(fd_class::kEvents)));
  HMVM_TRY(machine->AddRam());
  HMVM_TRY(machine->RestorePlatform(config.platform, source.cpus, state));
  std::vector<MemoryFile> files;
  for (const NamedFile& file : source.memory) files.push_back({file.name, file.fd.get()});
  std::future<Result<>> verified;
  if (archive) {
    machine->archive_ = std::move(source.archive);
    ++machine->workers_beginning_;
    HMVM_TRY_ASSIGN(
        machine->loader_,
        LazyLoader::Start(
            std::move(*archive), std::move(machine->host_.userfaultfd), machine->MemoryAreas(),
            [raw = machine.get()] { return raw->EnterWorker(); }, std::move(source.on_memory_lost)));
  } else {
    HMVM_TRY(MapMemory(map, files, machine->MemoryAreas()));
    if (!source.working_set.empty()) {
      ++machine->workers_beginning_;
      machine->working_set_ = std::jthread([raw = machine.get(), pages = std::move(source.working_set)] {
        if (raw->EnterWorker().has_value()) {
          PrepareWorkingSet(pages.runs(), raw->MemoryAreas());
        }
      });
    }
    // Read beside all that follows; the guest does not run before it is found whole. Not earlier: once there
    // are two threads, the kernel takes an RCU grace period for what the platform asks of it.
    if (!source.memory_verified) {
      verified = std::async(std::launch::async, [&map, &files, raw = machine.get()]() -> Result<> {
        HMVM_TRY(raw->enter_role_(ThreadRole::kWorker));
        return VerifyMemory(map, files);
      });
    }
  }

  // Platform and devices as they were.
  HMVM_TRY(machine->AddPortDevices());
  HMVM_TRY(machine->AddVirtioDevices(config));
  if (const auto restored = machine->platform_->Restore(state); !restored.has_value()) {
    return Wrap("snapshot '" + source.state.name + "'", restored.error());
  }
  if (const auto restored = machine->RestoreDevices(state); !restored.has_value()) {
    return Wrap("snapshot '" + source.state.name + "'", restored.error());
  }
  machine->OpenStatistics();
  machine->MakeMemorySaver(MemoryOrigin{.map = map, .mapped = machine->archive_ == std::nullopt});
  machine->restored_ = true;
  if (verified.valid()) HMVM_TRY(verified.get());
  return machine;
}

Result<> Machine::RestorePlatform(PlatformChoice wish, std::optional<uint32_t> cpus,
                                  const snapshot::MachineState& state) {
  const PlatformChoice saved =
      state.platform() == "hardware" ? PlatformChoice::kHardware : PlatformChoice::kRing3;
  if (state.platform() != NameOf(saved)) return Error{0, "the snapshot's platform is unknown"};
  if (wish != PlatformChoice::kAuto && wish != saved) {
    return Error{0, "the snapshot's platform is " + state.platform() + ", and it can run on no other"};
  }
  HMVM_TRY_ASSIGN(host_fit_, ReadHostFit(host_.kvm, host_.kvm_instance, state.platform()));
  const auto fits = CheckHostFit(state.host(), host_fit_);
  if (!fits.has_value()) return Wrap("the snapshot does not fit this host", fits.error());
  // KVM as it was loaded when the snapshot's machine was made need not be probed again.
  bool emulated_ring0 = state.host().emulated_ring0();
  if (host_fit_.kvm_instance().empty() || host_fit_.kvm_instance() != state.host().kvm_instance()) {
    HMVM_TRY_ASSIGN(const HostProbe probe, ProbeHost(host_.kvm));
    probe_vm_ = probe.vm;
    HMVM_TRY(DecidePlatform(saved, probe));
    emulated_ring0 = probe.emulated_ring0;
  }
  host_fit_.set_emulated_ring0(emulated_ring0);
  const auto saved_cpus = static_cast<uint32_t>(state.vcpus_size());
  if (saved_cpus == 0 || state.cpus() < saved_cpus) return Error{EINVAL, "the snapshot has no vCPUs"};
  if (cpus.value_or(1) == 0 || cpus.value_or(1) > saved_cpus) {
    return Error{0,
                 std::to_string(*cpus) + " CPUs: the snapshot's machine has " + std::to_string(saved_cpus)};
  }
  booted_cpus_ = state.cpus();
  return MakePlatform(saved, cpus.value_or(saved_cpus), emulated_ring0, /*restored=*/true);
}

Result<> Machine::RestoreDevices(const snapshot::MachineState& state) {
  HMVM_TRY(serial_->Restore(state.serial()));
  if (std::cmp_not_equal(state.virtio_size(), transports_.size())) {
    return Error{EINVAL, std::to_string(state.virtio_size()) + " virtio devices in place of " +
                             std::to_string(transports_.size())};
  }
  for (size_t slot = 0; slot < transports_.size(); ++slot) {
    const snapshot::VirtioState& device = state.virtio(static_cast<int>(slot));
    const auto restored = transports_[slot]->Restore(device);
    if (!restored.has_value()) return Wrap("device " + device.name(), restored.error());
  }
  return {};
}

std::vector<GuestMemory::Region> Machine::MemoryAreas() const {
  const auto booted = memory_.booted_regions();
  std::vector<GuestMemory::Region> areas(booted.begin(), booted.end());
  const auto own = platform_->OwnMemory();
  areas.insert(areas.end(), own.begin(), own.end());
  // Last, so that the pages before it have the numbers that they have in a snapshot without it.
  if (!memory_.added().empty()) areas.push_back(memory_.regions().back());
  return areas;
}

void Machine::MakeMemorySaver(std::optional<MemoryOrigin> origin) {
  std::vector<KvmWriteLog::Slot> slots;
  // In the order of MemoryAreas(), with the numbers that AddRam() and the platform have given.
  uint32_t slot = 0;
  for (const GuestMemory::Region& region : memory_.booted_regions()) slots.push_back({slot++, region});
  uint32_t platform_slot = kFirstPlatformMemorySlot;
  for (const GuestMemory::Region& region : platform_->OwnMemory()) slots.push_back({platform_slot++, region});
  if (!memory_.added().empty()) slots.push_back({slot, memory_.regions().back()});
  dirty_pages_ = std::make_unique<DirtyPages>(
      &memory_, MemoryAreas(), std::make_unique<KvmWriteLog>(&vm_, std::move(slots)),
      [this](OwnWrites& places) { platform_->AppendOwnWrites(places); });
  memory_saver_ = std::make_unique<MemorySaver>(
      dirty_pages_.get(), host_.touched_pages ? &*host_.touched_pages : nullptr, std::move(origin));
}

Result<> Machine::PrepareSnapshot(const SnapshotTarget& target) {
  return memory_saver_->BeforePause({.file = target.memory_file,
                                     .name = "the file of the snapshot's memory",
                                     .live = target.live && !is_paused(),
                                     .diff_of = target.diff_of,
                                     .passing = target.passing});
}

Result<SnapshotReport> Machine::Snapshot(const SnapshotTarget& target) {
  const bool was_paused = is_paused();
  if (!target.prepared) HMVM_TRY(PrepareSnapshot(target));
  const uint64_t start_ns = NowNs(CLOCK_MONOTONIC);
  if (!was_paused) HMVM_TRY(Pause());
  auto state = SaveState();
  if (state.has_value()) {
    if (auto saved = memory_saver_->WhilePaused(); !saved.has_value()) state = saved.error();
  }
  SnapshotReport report;
  if (!was_paused && !target.stop_after) {
    HMVM_TRY(Resume());
    report.pause_ns = NowNs(CLOCK_MONOTONIC) - start_ns;
  }
  const auto written = state.has_value() ? FinishSnapshot(std::move(*state), target.state_file, report)
                                         : Result<>(state.error());
  if (target.stop_after) {
    if (written.has_value()) {
      End(MachineEnd::kPowerOff, "");
    } else if (!was_paused) {
      HMVM_TRY(Resume());
    }
  }
  HMVM_TRY(written);
  return report;
}

Result<PageRuns> Machine::WorkingSet() const {
  if (!restored_ || !host_.touched_pages.has_value()) {
    return Error{EINVAL, "the machine was not restored, or there is no /proc"};
  }
  return CollectWorkingSet(*host_.touched_pages, MemoryAreas());
}

Result<snapshot::MachineState> Machine::SaveState() const {
  snapshot::MachineState state;
  state.set_hmvm_version(HMVM_VERSION);
  state.set_platform(std::string(platform_->Name()));
  *state.mutable_host() = host_fit_;
  state.set_cpus(booted_cpus_);
  state.set_memory_bytes(memory_.booted_bytes());
  state.set_kernel(kernel_name_);
  state.set_taken_realtime_ns(NowNs(CLOCK_REALTIME));
  // Devices first: what they still had in flight changes memory, and events that the platform keeps.
  for (const auto& transport : transports_) HMVM_TRY(transport->Save(state.add_virtio()));
  *state.mutable_serial() = serial_->Save();
  HMVM_TRY(platform_->Save(state));
  return state;
}

Result<> Machine::FinishSnapshot(snapshot::MachineState state, int state_file, SnapshotReport& report) {
  HMVM_TRY_ASSIGN(const MemoryMap map, memory_saver_->AfterPause());
  *state.mutable_memory() = map.ToManifest();
  const std::string file = EncodeState(state);
  const auto written = WriteAll(state_file, file);
  if (!written.has_value()) return Wrap("the file of the machine's state", written.error());
  report.memory = memory_saver_->report();
  report.memory_id = map.files().back().id;
  report.bytes_written = file.size() + report.memory.written_bytes;
  return {};
}

}  // namespace hmvm
