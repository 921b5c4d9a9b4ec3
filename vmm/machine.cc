#include "vmm/machine.h"

#include <pthread.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include "base/clock.h"
#include "base/file.h"
#include "base/mapping.h"
#include "security/fd_class.h"
#include "vmm/boot/kernel.h"
#include "vmm/kvm/describe.h"
#include "vmm/kvm/host_probe.h"
#include "vmm/machine_host.h"
#include "vmm/snapshot/host_fit.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/console.h"
#include "vmm/virtio/mem.h"
#include "vmm/virtio/rng.h"
#include "vmm/virtio/vsock.h"

namespace hmvm {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr std::chrono::milliseconds kSettlePatience(5);
constexpr size_t kMaxSlots = 32;  // what Platform::AddDeviceInterrupt takes

// The guest ends its machine when its kernel panics, and keeps no bounce buffers, as there is no device with
// limits. Notices are not printed: a line costs an exit a byte. Nobody compares the TSC with the clock that
// the host keeps, as the kernel would twice a second.
constexpr char kCommandLine[] = "panic=-1 quiet swiotlb=noforce tsc=nowatchdog console=hvc0";

// A file of the host's, mapped for as long as the guest's memory is filled from it.
Result<Mapping> MapFile(const NamedFile& file) {
  HMVM_TRY_ASSIGN(const uint64_t size_bytes, FileSize(file.fd.get(), file.name));
  if (size_bytes == 0) return Error{0, "'" + file.name + "' is empty"};
  auto mapping = Mapping::OfFile(file.fd.get(), size_bytes, PROT_READ, MAP_PRIVATE);
  if (!mapping.has_value()) return Wrap("'" + file.name + "'", mapping.error());
  return mapping;
}

Result<> CheckMemorySize(uint64_t memory_mib, const NamedFile& kernel,
                         std::span<const std::byte> kernel_bytes, uint64_t initrd_bytes) {
  const auto minimum = MinimumMemory(kernel_bytes, initrd_bytes);
  if (!minimum.has_value()) return Wrap("kernel '" + kernel.name + "'", minimum.error());
  if (memory_mib < *minimum / kMiB) {
    return Error{0, "memory of " + std::to_string(memory_mib) + " MiB is too small for kernel '" +
                        kernel.name + "': at least " + std::to_string(*minimum / kMiB) + " MiB"};
  }
  return CheckHostMemory(memory_mib * kMiB);
}

Result<> CheckCpus(uint32_t cpus, const Platform& platform) {
  if (cpus <= platform.MaxVcpus()) return {};
  return Error{0, std::to_string(cpus) + " CPUs are too many: the " + std::string(platform.Name()) +
                      " platform runs at most " + std::to_string(platform.MaxVcpus()) + " on this host"};
}

GuestMemory::Added RoomFor(const MachineConfig& config) {
  if (config.memory_limit_mib <= config.memory_mib) return {};
  const uint64_t bytes = (config.memory_limit_mib - config.memory_mib) * kMiB;
  return {
      .bytes = 0,
      .region_bytes = (bytes + Mem::kRegionUnitBytes - 1) / Mem::kRegionUnitBytes * Mem::kRegionUnitBytes};
}

std::string DeviceArgument(uint64_t address, uint32_t interrupt) {
  char text[64];
  std::snprintf(text, sizeof(text), " virtio_mmio.device=4K@0x%llx:%u",
                static_cast<unsigned long long>(address), interrupt);
  return text;
}

}  // namespace

// The two errors that a user can mend come with the remedy.
Result<HostAccess> OpenHost(const std::string& kvm) {
  auto opened = Kvm::Open(kvm);
  if (!opened.has_value()) {
    Error error = opened.error();
    if (error.code == EACCES) error.what += " (run as root, or join the group that owns it)";
    if (error.code == ENOENT)
      error.what += " (load the module kvm_intel or kvm_amd, or turn on virtualization in the firmware)";
    return error;
  }
  auto touched = TouchedPages::Open();
  return HostAccess{.kvm = std::move(*opened),
                    .kvm_instance = KvmInstance(),
                    .touched_pages = touched.has_value() ? std::optional(std::move(*touched)) : std::nullopt,
                    .userfaultfd = {}};
}

std::vector<int> HostAccess::OpenFiles() const {
  return {kvm.fd(), touched_pages.has_value() ? touched_pages->fd() : -1, userfaultfd.get()};
}

Result<> CheckHostMemory(uint64_t memory_bytes) {
  struct sysinfo host;
  if (::sysinfo(&host) < 0) return Error{errno, "sysinfo"};
  const uint64_t host_mib = uint64_t{host.totalram} * host.mem_unit / kMiB;
  if (memory_bytes / kMiB <= host_mib) return {};
  return Error{0, "memory of " + std::to_string(memory_bytes / kMiB) + " MiB is more than the host's " +
                      std::to_string(host_mib) + " MiB"};
}

Result<std::unique_ptr<Machine>> Machine::Create(MachineConfig config) {
  // What the user gave, before anything is made of it.
  if (config.cpus == 0) return Error{0, "0 CPUs: a machine needs at least one"};
  HMVM_TRY_ASSIGN(const Mapping kernel, MapFile(config.kernel));
  Mapping initrd;
  if (config.initrd) {
    HMVM_TRY_ASSIGN(initrd, MapFile(*config.initrd));
  }
  HMVM_TRY(CheckMemorySize(config.memory_mib, config.kernel, kernel.bytes(), initrd.size()));

  // The virtual machine and its memory.
  HMVM_TRY_ASSIGN(Vm vm, config.host->kvm.CreateVm());
  HMVM_TRY_ASSIGN(GuestMemory memory, GuestMemory::Create(config.memory_mib * kMiB, RoomFor(config)));
  std::unique_ptr<Machine> machine(
      new Machine(std::move(*config.host), std::move(config.enter_role), std::move(vm), std::move(memory)));
  machine->console_ = std::move(config.console);
  machine->kernel_name_ = config.kernel.name;
  HMVM_TRY_ASSIGN(machine->device_loop_, EventLoop::Create(PlacedIn(fd_class::kEvents)));
  HMVM_TRY(machine->AddRam());

  // What kind of host this is decides how a vCPU runs; nothing below knows.
  HMVM_TRY(machine->ChoosePlatform(config.platform, config.cpus));
  machine->OpenStatistics();

  // Devices.
  HMVM_TRY(machine->AddPortDevices());
  HMVM_TRY(machine->AddVirtioDevices(config));

  // The guest.
  std::string command_line = kCommandLine;
  if (machine->console_.valid()) command_line.append(" ").append(machine->platform_->EarlyConsole());
  command_line += machine->device_command_line_;
  if (!config.command_line.empty()) command_line += " " + config.command_line;
  const auto loaded = machine->platform_->Load(
      {.kernel = kernel.bytes(), .initrd = initrd.bytes(), .command_line = std::move(command_line)});
  if (!loaded.has_value()) return Wrap("kernel '" + config.kernel.name + "'", loaded.error());
  machine->MakeMemorySaver(std::nullopt);
  return machine;
}

Result<> Machine::AddRam() {
  uint32_t slot = 0;
  for (const GuestMemory::Region& region : memory_.regions()) {
    HMVM_TRY(vm_.SetMemory(slot++, region.start.value, region.host));
  }
  return {};
}

Result<> Machine::ChoosePlatform(PlatformChoice choice, uint32_t cpus) {
  HMVM_TRY_ASSIGN(const HostProbe probe, ProbeHost(host_.kvm));
  probe_vm_ = probe.vm;
  HMVM_TRY_ASSIGN(choice, DecidePlatform(choice, probe));
  booted_cpus_ = cpus;
  HMVM_TRY(MakePlatform(choice, cpus, probe.emulated_ring0, /*restored=*/false));
  HMVM_TRY_ASSIGN(host_fit_, ReadHostFit(host_.kvm, host_.kvm_instance, platform_->Name()));
  host_fit_.set_emulated_ring0(probe.emulated_ring0);
  return {};
}

Result<> Machine::MakePlatform(PlatformChoice choice, uint32_t cpus, bool emulated_ring0, bool restored) {
  const PlatformContext context = {.kvm = &host_.kvm,
                                   .vm = &vm_,
                                   .memory = &memory_,
                                   .mmio = &mmio_,
                                   .ports = &ports_,
                                   .loop = device_loop_.get(),
                                   .vcpus = cpus,
                                   .booted_vcpus = booted_cpus_,
                                   .emulated_ring0 = emulated_ring0,
                                   .restored = restored};
  if (choice == PlatformChoice::kRing3) {
    HMVM_TRY_ASSIGN(platform_, CreateRing3Platform(context));
  } else {
    HMVM_TRY_ASSIGN(platform_, CreateHardwarePlatform(context));
  }
  return CheckCpus(booted_cpus_, *platform_);
}

Result<> Machine::AddPortDevices() {
  const auto on_exit_request = [this](ExitRequest request) {
    switch (request) {
      case ExitRequest::kPowerOff:
        return End(MachineEnd::kPowerOff, "");
      case ExitRequest::kReset:
        return End(MachineEnd::kReset, "");
      case ExitRequest::kPanic:
        return End(MachineEnd::kPanic, "");
    }
  };
  HMVM_TRY_ASSIGN(serial_interrupt_, platform_->AddSerialInterrupt());
  serial_ = std::make_unique<Serial>(console_.get(), serial_interrupt_.get());
  exit_port_ = std::make_unique<ExitPort>(on_exit_request);
  keyboard_controller_ = std::make_unique<KeyboardController>(on_exit_request);
  HMVM_TRY(ports_.Add(kSerialPort, kSerialPortCount, serial_.get()));
  HMVM_TRY(ports_.Add(kExitPort, 1, exit_port_.get()));
  return ports_.Add(kKeyboardControllerPort, 1, keyboard_controller_.get());
}

Result<> Machine::AddVirtioDevices(MachineConfig& config) {
  // Disks first: their order is the guest's order of names.
  for (size_t i = 0; i < config.disks.size(); ++i) {
    DiskConfig& disk = config.disks[i];
    const std::string name = "blk" + std::to_string(i);
    auto device = Blk::Create({.name = name,
                               .file = std::move(disk.file.fd),
                               .read_only = disk.read_only,
                               .serial = name,
                               .limits = disk.limits},
                              *device_loop_);
    if (!device.has_value()) return Wrap("disk '" + disk.file.name + "'", device.error());
    HMVM_TRY(AddVirtioDevice(std::move(*device)));
  }
  HMVM_TRY_ASSIGN(auto vsock, Vsock::Create({.guest_cid = config.guest_cid,
                                             .listener = std::move(config.vsock_listener),
                                             .path_prefix = "",
                                             .agent = std::move(config.agent)},
                                            *device_loop_));
  HMVM_TRY(AddVirtioDevice(std::move(vsock)));
  HMVM_TRY(AddVirtioDevice(std::make_unique<Rng>()));
  UniqueFd output;
  if (console_.valid()) {
    HMVM_TRY_ASSIGN(output, Duplicate(console_.get()));
    HMVM_TRY_ASSIGN(output, Place(fd_class::kConsole, std::move(output)));
  }
  HMVM_TRY_ASSIGN(auto console, Console::Create({.output = std::move(output), .input = {}}, *device_loop_));
  HMVM_TRY(AddVirtioDevice(std::move(console)));
  if (memory_.region_bytes() == 0) return {};
  return AddVirtioDevice(std::make_unique<Mem>(memory_));
}

Result<> Machine::AddVirtioDevice(std::unique_ptr<VirtioDevice> device) {
  const size_t slot = transports_.size();
  if (slot == kMaxSlots) return Error{0, "more than " + std::to_string(kMaxSlots) + " virtio devices"};
  const uint64_t address = kMmioWindowStart + slot * MmioTransport::kWindowBytes;
  HMVM_TRY_ASSIGN(auto interrupt, platform_->AddDeviceInterrupt(static_cast<uint32_t>(slot)));
  HMVM_TRY_ASSIGN(auto transport, MmioTransport::Create(std::move(device), memory_, std::move(interrupt.line),
                                                        *device_loop_));
  const std::span<const UniqueFd> notify = transport->notify_fds();
  for (uint32_t queue = 0; queue < notify.size(); ++queue) {
    HMVM_TRY(vm_.AddIoeventfd(notify[queue].get(), address + MmioTransport::kNotifyOffset, queue));
  }
  HMVM_TRY(mmio_.Add(address, MmioTransport::kWindowBytes, transport.get()));
  device_command_line_ += DeviceArgument(address, interrupt.number);
  transports_.push_back(std::move(transport));
  return {};
}

Machine::~Machine() {
  Stop();
  Wait();
}

Result<> Machine::Start(std::function<void()> on_end, bool paused) {
  on_end_ = std::move(on_end);
  paused_ = paused;
  pause_wanted_ = paused;
  if (paused) device_loop_->Post([this] { WaitWhilePaused(); });
  const auto vcpus = platform_->vcpus();
  entered_ = std::make_unique<std::latch>(std::ssize(vcpus) + 1);
  const auto serve = [this](ThreadRole role, const std::string& name, auto run) {
    threads_.emplace_back([this, role, name, run] {
      ::pthread_setname_np(::pthread_self(), name.c_str());
      if (const auto taken = enter_role_(role); !taken.has_value()) {
        End(MachineEnd::kKvmError, name + ": " + taken.error().Message());
      }
      entered_->count_down();
      may_serve_.wait();
      run();
    });
  };
  serve(ThreadRole::kDevice, "devices", [this] { RunDevices(); });
  for (Vcpu& vcpu : vcpus) {
    serve(ThreadRole::kVcpu, "vcpu" + std::to_string(vcpu.index()), [this, &vcpu] { RunVcpu(vcpu); });
  }
  entered_->wait();
  for (int left; (left = workers_beginning_.load()) > 0;) workers_beginning_.wait(left);
  const auto taken = enter_role_(ThreadRole::kControl);
  if (!taken.has_value()) End(MachineEnd::kKvmError, "");
  may_serve_.count_down();
  return taken;
}

Result<> Machine::EnterWorker() {
  auto taken = enter_role_(ThreadRole::kWorker);
  --workers_beginning_;
  workers_beginning_.notify_all();
  return taken;
}

Result<> Machine::Pause() {
  std::unique_lock lock(mutex_);
  if (outcome_.has_value() || threads_.empty()) return Error{EBUSY, "the machine does not run"};
  if (paused_) return Error{EBUSY, "the machine is paused"};
  paused_ = true;
  pause_wanted_ = true;
  for (const Vcpu& vcpu : platform_->vcpus()) vcpu.Kick();
  device_loop_->Post([this] { WaitWhilePaused(); });
  const auto held = [this] { return held_threads_ == threads_.size() || outcome_.has_value(); };
  // A vCPU that settles runs until KVM says that nothing is under way; a guest could keep it from that for
  // ever.
  while (!pause_changed_.wait_for(lock, kSettlePatience, held)) {
    for (const Vcpu& vcpu : platform_->vcpus()) vcpu.Kick();
  }
  if (outcome_.has_value()) return Error{EBUSY, "the machine has ended"};
  return {};
}

Result<> Machine::Resume() {
  std::lock_guard lock(mutex_);
  if (!paused_ || outcome_.has_value()) return Error{EBUSY, "the machine is not paused"};
  platform_->BeforeResume();
  paused_ = false;
  pause_wanted_ = false;
  pause_changed_.notify_all();
  return {};
}

bool Machine::is_paused() const {
  std::lock_guard lock(mutex_);
  return paused_ && !outcome_.has_value();
}

void Machine::WaitWhilePaused() {
  std::unique_lock lock(mutex_);
  ++held_threads_;
  pause_changed_.notify_all();
  pause_changed_.wait(lock, [this] { return !paused_ || outcome_.has_value(); });
  --held_threads_;
}

MachineOutcome Machine::Wait() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::lock_guard lock(mutex_);
  return outcome_.value_or(MachineOutcome{});
}

void Machine::RunVcpu(Vcpu& vcpu) {
  if (const auto attached = vcpu.AttachThread(); !attached.has_value()) {
    return End(MachineEnd::kKvmError, attached.error().Message());
  }
  if (pause_wanted_) WaitWhilePaused();  // from the start: nothing is to be settled yet
  if (vcpu.index() == 0) running_monotonic_ns_ = NowMonotonicNs();
  while (!ended_) {
    if (!pause_wanted_) {
      TakeTurn(vcpu, platform_->RunOnce(vcpu));
    } else if (TakeTurn(vcpu, platform_->Settle(vcpu))) {
      WaitWhilePaused();
    }
  }
}

// false: it was the machine's last.
bool Machine::TakeTurn(const Vcpu& vcpu, Result<VcpuTurn> turn) {
  if (!turn.has_value()) {
    End(MachineEnd::kKvmError, turn.error().Message() + "\n" + DescribeVcpu(vcpu, memory_));
    return false;
  }
  if (turn->kind != VcpuTurn::Kind::kEnded) return true;
  End(turn->end, std::move(turn->report));
  return false;
}

// Counters are of use, but nothing depends on them.
void Machine::OpenStatistics() {
  const auto keep = [this](Result<KvmStatistics> statistics) {
    if (statistics.has_value()) statistics_.push_back(std::move(*statistics));
  };
  keep(KvmStatistics::Of(vm_));
  for (const Vcpu& vcpu : platform_->vcpus()) keep(KvmStatistics::Of(vcpu));
}

void Machine::RunDevices() {
  probe_vm_.reset();  // beside the guest's first steps, which need no device
  if (const auto ran = device_loop_->Run(); !ran.has_value()) {
    End(MachineEnd::kKvmError, "device thread: " + ran.error().Message());
  }
}

void Machine::End(MachineEnd end, std::string report) {
  {
    std::lock_guard lock(mutex_);
    if (outcome_) return;  // the first reason counts
    outcome_ = MachineOutcome{end, std::move(report)};
    // Before anyone is woken or kicked: who was held does not execute one instruction more.
    ended_ = true;
    pause_changed_.notify_all();
  }
  for (const Vcpu& vcpu : platform_ ? platform_->vcpus() : std::span<Vcpu>()) vcpu.Kick();
  if (device_loop_) device_loop_->Stop();
  if (on_end_) on_end_();
}

std::vector<std::pair<std::string, uint64_t>> Machine::Counters() const {
  auto counters = platform_->Counters();
  for (const auto& transport : transports_)
    std::ranges::move(transport->Counters(), std::back_inserter(counters));
  counters.emplace_back("serial.dropped_bytes", serial_->dropped_bytes());
  std::map<std::string, uint64_t> kvm;
  for (const KvmStatistics& statistics : statistics_) {
    const auto values = statistics.Read();
    if (!values.has_value()) continue;
    for (const auto& [name, value] : *values) kvm["kvm." + name] += value;
  }
  counters.insert(counters.end(), kvm.begin(), kvm.end());
  std::ranges::sort(counters);
  return counters;
}

}  // namespace hmvm
