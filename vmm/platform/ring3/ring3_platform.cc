// The platform for hosts whose KVM emulates guest ring 0: assembles its parts (docs/ring3.md).
#include <atomic>
#include <cstring>

#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/boot_builder.h"
#include "vmm/platform/ring3/clock.h"
#include "vmm/platform/ring3/clock_follower.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/saved_state.h"
#include "vmm/platform/ring3/vcpu_set.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm {
namespace ring3 {
namespace {

// A device's interrupt is an event channel.
class DeviceLine : public InterruptLine {
 public:
  DeviceLine(EventChannels* events, VcpuSet* vcpus, uint32_t port)
      : events_(events), vcpus_(vcpus), port_(port) {}
  void Trigger() override {
    if (const auto vcpu = events_->Send(port_)) vcpus_->Wake(*vcpu);
  }

 private:
  EventChannels* const events_;
  VcpuSet* const vcpus_;
  const uint32_t port_;
};

class Ring3Platform : public Platform {
 public:
  static Result<std::unique_ptr<Platform>> Create(const PlatformContext& context);

  std::string_view Name() const override { return "ring3"; }
  uint32_t MaxVcpus() const override { return kMaxVcpus; }
  // A line of text is one hypercall, where the port itself takes several exceptions a byte.
  std::string_view EarlyConsole() const override { return "earlyprintk=xen"; }
  Result<DeviceInterrupt> AddDeviceInterrupt(uint32_t slot) override;
  Result<> Load(const BootSource& source) override;
  void AppendOwnWrites(OwnWrites& places) const override;
  void BeforeResume() override { clock_.Follow(TscMoment::Now(), /*after_pause=*/true); }
  std::span<Vcpu> vcpus() override { return vcpus_.vcpus(); }
  Result<VcpuTurn> RunOnce(Vcpu& vcpu) override { return vcpus_.runner(vcpu.index()).RunOnce(); }
  Result<VcpuTurn> Settle(Vcpu& vcpu) override { return vcpus_.runner(vcpu.index()).Settle(); }
  std::span<const GuestMemory::Region> OwnMemory() const override { return std::span(&own_memory_, 1); }
  Result<> Save(snapshot::MachineState& state) const override {
    return SaveState(*memory_, window_, clock_, events_, vcpus_, state);
  }
  Result<> Restore(const snapshot::MachineState& state) override {
    return RestoreState(state, *memory_, window_, clock_, events_, vcpus_);
  }
  std::vector<std::pair<std::string, uint64_t>> Counters() const override;

 private:
  Ring3Platform(const PlatformContext& context, Window window, std::vector<Vcpu> vcpus, uint32_t tsc_khz);

  const GuestMemory* memory_;
  Window window_;
  GuestMemory::Region own_memory_;
  Clock clock_;
  std::unique_ptr<ClockFollower> clock_follower_;
  EventChannels events_;
  VcpuSet vcpus_;
};

Result<std::unique_ptr<Platform>> Ring3Platform::Create(const PlatformContext& context) {
  HMVM_TRY_ASSIGN(Window window, context.restored ? Window::CreateUnfilled(*context.memory, context.vcpus)
                                                  : Window::Create(*context.memory, context.vcpus));
  HMVM_TRY(window.AddTo(*context.vm));
  HMVM_TRY_ASSIGN(std::vector<Vcpu> vcpus, VcpuSet::CreateVcpus(context));
  HMVM_TRY_ASSIGN(const int tsc_khz, vcpus[0].Ioctl(KVM_GET_TSC_KHZ, nullptr, "KVM_GET_TSC_KHZ"));
  std::unique_ptr<Ring3Platform> platform(
      new Ring3Platform(context, std::move(window), std::move(vcpus), static_cast<uint32_t>(tsc_khz)));
  HMVM_TRY_ASSIGN(platform->clock_follower_, ClockFollower::Create(*context.loop, &platform->clock_));
  return platform;
}

Ring3Platform::Ring3Platform(const PlatformContext& context, Window window, std::vector<Vcpu> vcpus,
                             uint32_t tsc_khz)
    : memory_(context.memory),
      window_(std::move(window)),
      own_memory_{GuestAddress{kPlatformWindowStart}, window_.bytes()},
      clock_(tsc_khz, Clock::ReadTsc()),
      events_(&window_.shared_info(), context.vcpus),
      vcpus_(context, std::move(vcpus), &window_, &clock_, &events_) {}

Result<Platform::DeviceInterrupt> Ring3Platform::AddDeviceInterrupt(uint32_t slot) {
  if (slot >= EventChannels::kDeviceSlots) return Error{EINVAL, "no device slot " + std::to_string(slot)};
  const uint32_t port = EventChannels::DevicePort(slot);
  return DeviceInterrupt{port, std::make_unique<DeviceLine>(&events_, &vcpus_, port)};
}

Result<> Ring3Platform::Load(const BootSource& source) {
  HMVM_TRY_ASSIGN(const StartState start, BuildBoot(source, *memory_, window_));

  SharedInfo& shared = window_.shared_info();
  std::memset(shared.mask, 0xff, sizeof(shared.mask));
  for (uint32_t vcpu = 0; vcpu < window_.vcpus(); ++vcpu) {
    shared.vcpu_info[vcpu].upcall_mask = 1;
    clock_.Publish(&shared.vcpu_info[vcpu].time);
  }
  clock_.PublishWallClock(&shared);

  // The first vCPU is up from the start; the guest brings up the others.
  static_cast<void>(vcpus_.power(0).Initialise(start));
  static_cast<void>(vcpus_.power(0).Up());
  return {};
}

void Ring3Platform::AppendOwnWrites(OwnWrites& places) const {
  const auto add = [&places](const auto& place) { places.push_back(std::as_bytes(std::span(&place, 1))); };
  for (uint32_t vcpu = 0; vcpu < window_.vcpus(); ++vcpu) {
    add(window_.cpu(vcpu));
    add(window_.exceptions(vcpu, false));
    add(window_.exceptions(vcpu, true));
    add(*events_.vcpu_info(vcpu));
  }
  add(window_.shared_info());
  for (const PvclockTime* area : clock_.Areas()) add(*area);
}

std::vector<std::pair<std::string, uint64_t>> Ring3Platform::Counters() const {
  const auto of_runners = [this](std::atomic<uint64_t> VcpuRunner::Counters::*counter) {
    uint64_t sum = 0;
    for (const VcpuRunner& runner : vcpus_.runners()) sum += runner.counters().*counter;
    return sum;
  };
  const auto of_cpus = [this](auto value_of) {
    uint64_t sum = 0;
    for (uint32_t vcpu = 0; vcpu < window_.vcpus(); ++vcpu) sum += value_of(window_.cpu(vcpu));
    return sum;
  };
  std::vector<std::pair<std::string, uint64_t>> counters = {
      {"exits.hypercall", of_runners(&VcpuRunner::Counters::hypercall)},
      {"exits.emulation", of_runners(&VcpuRunner::Counters::emulation)},
      {"exits.exception", of_runners(&VcpuRunner::Counters::exception)},
      {"exits.mmio", of_runners(&VcpuRunner::Counters::mmio)},
      {"exits.interrupted", of_runners(&VcpuRunner::Counters::interrupted)},
      {"idle", of_runners(&VcpuRunner::Counters::idle)},
      {"remote_flushes.received", of_runners(&VcpuRunner::Counters::flushed)},
      {"remote_flushes.sent", of_cpus([](const Cpu& cpu) { return cpu.count_remote_flushes; })},
      {"events.sent", events_.sent()},
      {"events.delivered", of_cpus([](const Cpu& cpu) { return cpu.count_events; })},
      {"guest.syscalls", of_cpus([](const Cpu& cpu) { return cpu.count_syscalls; })},
      {"guest.page_faults", of_cpus([](const Cpu& cpu) { return cpu.count_faults; })},
      {"guest.page_table_updates", of_cpus([](const Cpu& cpu) { return cpu.count_page_table_updates; })},
      {"guest.flushes", of_cpus([](const Cpu& cpu) { return cpu.count_flushes; })},
  };
  for (uint64_t number = 0; number < kHypercalls; ++number) {
    const uint64_t count = of_cpus([number](const Cpu& cpu) { return cpu.count_hypercalls[number]; });
    if (count == 0) continue;
    const std::string_view name = Hypercalls::NameOf(number);
    counters.emplace_back("hypercalls." + (name.empty() ? std::to_string(number) : std::string(name)), count);
  }
  return counters;
}

}  // namespace
}  // namespace ring3

Result<std::unique_ptr<Platform>> CreateRing3Platform(const PlatformContext& context) {
  // Checked by the machine with a better message; without room for its block a vCPU can't be made.
  PlatformContext possible = context;
  possible.vcpus = std::min(context.vcpus, ring3::kMaxVcpus);
  return ring3::Ring3Platform::Create(possible);
}

}  // namespace hmvm
