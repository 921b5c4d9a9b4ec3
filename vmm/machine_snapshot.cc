// A machine into files, and out of them again.
#include <time.h>

#include <algorithm>
#include <future>
#include <utility>

#include "base/file.h"
#include "vmm/machine.h"
#include "vmm/machine_host.h"
#include "vmm/snapshot/host_fit.h"
#include "vmm/snapshot/memory_map.h"
#include "vmm/snapshot/memory_mapper.h"
#include "vmm/snapshot/memory_writer.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm {
namespace {

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

}  // namespace

Result<std::unique_ptr<Machine>> Machine::Restore(MachineConfig config) {
  // What the snapshot says, before anything is made of it.
  const RestoreConfig& source = *config.restore;
  HMVM_TRY_ASSIGN(const snapshot::MachineState state, ReadState(source.state.fd.get(), source.state.name));
  HMVM_TRY_ASSIGN(const MemoryMap map, MemoryMap::FromManifest(state.memory()));
  HMVM_TRY(CheckHostMemory(state.memory_bytes()));
  HMVM_TRY(CheckDisks(state, config.disks.size()));
  config.guest_cid = GuestCid(state);
  std::vector<MemoryFile> files;
  for (const NamedFile& file : source.memory) files.push_back({file.name, file.fd.get()});
  // Read beside all that follows; the guest does not run before it is found whole.
  std::future<Result<>> verified =
      std::async(std::launch::async, [&map, &files] { return VerifyMemory(map, files); });

  // The virtual machine and its memory.
  HMVM_TRY_ASSIGN(Kvm kvm, OpenKvm());
  HMVM_TRY_ASSIGN(Vm vm, kvm.CreateVm());
  HMVM_TRY_ASSIGN(GuestMemory memory, GuestMemory::Create(state.memory_bytes()));
  std::unique_ptr<Machine> machine(new Machine(std::move(kvm), std::move(vm), std::move(memory)));
  machine->console_ = std::move(config.console);
  machine->kernel_name_ = state.kernel();
  HMVM_TRY_ASSIGN(machine->device_loop_, EventLoop::Create());
  HMVM_TRY(machine->AddRam());
  HMVM_TRY(machine->RestorePlatform(config.platform, state));
  HMVM_TRY(MapMemory(map, files, machine->MemoryAreas()));

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
  HMVM_TRY(verified.get());
  return machine;
}

Result<> Machine::RestorePlatform(PlatformChoice wish, const snapshot::MachineState& state) {
  const PlatformChoice saved =
      state.platform() == "hardware" ? PlatformChoice::kHardware : PlatformChoice::kRing3;
  if (state.platform() != NameOf(saved)) return Error{0, "the snapshot's platform is unknown"};
  if (wish != PlatformChoice::kAuto && wish != saved) {
    return Error{0, "the snapshot's platform is " + state.platform() + ", and it can run on no other"};
  }
  HMVM_TRY_ASSIGN(host_fit_, ReadHostFit(kvm_, state.platform()));
  const auto fits = CheckHostFit(state.host(), host_fit_);
  if (!fits.has_value()) return Wrap("the snapshot does not fit this host", fits.error());
  // KVM as it was loaded when the snapshot's machine was made need not be probed again.
  bool emulated_ring0 = state.host().emulated_ring0();
  if (host_fit_.kvm_instance().empty() || host_fit_.kvm_instance() != state.host().kvm_instance()) {
    HMVM_TRY_ASSIGN(const HostProbe probe, ProbeHost(kvm_));
    probe_vm_ = probe.vm;
    HMVM_TRY(DecidePlatform(saved, probe));
    emulated_ring0 = probe.emulated_ring0;
  }
  host_fit_.set_emulated_ring0(emulated_ring0);
  return MakePlatform(saved, state.cpus(), emulated_ring0, /*restored=*/true);
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
  std::vector<GuestMemory::Region> areas(memory_.regions().begin(), memory_.regions().end());
  const auto own = platform_->OwnMemory();
  areas.insert(areas.end(), own.begin(), own.end());
  return areas;
}

Result<SnapshotReport> Machine::Snapshot(int state_file, int memory_file, bool stop_after) {
  const uint64_t start_ns = NowNs(CLOCK_MONOTONIC);
  const auto paused = Pause();
  if (!paused.has_value() && !is_paused()) return paused.error();
  const auto written = WriteSnapshot(state_file, memory_file);
  SnapshotReport report;
  if (written.has_value() && stop_after) {
    End(MachineEnd::kPowerOff, "");
  } else if (paused.has_value()) {
    HMVM_TRY(Resume());
    report.pause_ns = NowNs(CLOCK_MONOTONIC) - start_ns;
  }
  HMVM_TRY_ASSIGN(report.bytes_written, written);
  return report;
}

Result<uint64_t> Machine::WriteSnapshot(int state_file, int memory_file) {
  snapshot::MachineState state;
  state.set_hmvm_version(HMVM_VERSION);
  state.set_platform(std::string(platform_->Name()));
  *state.mutable_host() = host_fit_;
  state.set_cpus(cpus_);
  state.set_memory_bytes(memory_.size_bytes());
  state.set_kernel(kernel_name_);
  state.set_taken_realtime_ns(NowNs(CLOCK_REALTIME));
  // Devices first: what they still had in flight changes memory, and events that the platform keeps.
  for (const auto& transport : transports_) HMVM_TRY(transport->Save(state.add_virtio()));
  *state.mutable_serial() = serial_->Save();
  HMVM_TRY(platform_->Save(state));

  const std::vector<GuestMemory::Region> areas = MemoryAreas();
  HMVM_TRY_ASSIGN(MemoryWriter writer, MemoryWriter::Create(areas, memory_file, "memory"));
  HMVM_TRY(writer.Write({0, TotalPages(areas)}));
  MemoryMap map(areas);
  writer.AddTo(map);
  *state.mutable_memory() = map.ToManifest();

  const std::string file = EncodeState(state);
  HMVM_TRY(WriteAll(state_file, file));
  return file.size() + writer.bytes_written();
}

}  // namespace hmvm
