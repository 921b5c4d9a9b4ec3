#include "vmm/platform/ring3/saved_state.h"

#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "vmm/platform/ring3/monitor_image.h"

namespace hmvm::ring3 {
namespace {

// The monitor that is built in, by its content: its code lies in the guest's window.
uint64_t MonitorHash() {
  const std::span<const std::byte> image = MonitorImage();
  return XXH3_64bits(image.data(), image.size());
}

// Where structures lie that VMM and guest share: in RAM, or in shared_info.
uint64_t AddressOf(const void* place, const GuestMemory& memory, const Window& window) {
  const auto* const host = static_cast<const std::byte*>(place);
  for (const GuestMemory::Region& region : memory.regions()) {
    if (host >= region.host.data() && host < region.host.data() + region.host.size()) {
      return region.start.value + static_cast<uint64_t>(host - region.host.data());
    }
  }
  return Window::PhysicalOf(static_cast<uint64_t>(host - window.bytes().data()));
}

// Checked as when the guest itself names the place: aligned, in one page.
template <typename T>
Result<T*> PlaceAt(uint64_t address, const GuestMemory& memory, const Window& window, const char* what) {
  const Error bad = {EINVAL, std::string(what) + " at a place that it can't have"};
  if (address % alignof(T) != 0 || address % kPageSize > kPageSize - sizeof(T)) return bad;
  constexpr uint64_t kShared = Window::PhysicalOf(kSharedInfoOffset);
  std::byte* host = nullptr;
  if (address >= kShared && address - kShared <= sizeof(SharedInfo::vcpu_info) - sizeof(T)) {
    host = window.bytes().data() + kSharedInfoOffset + (address - kShared);
  } else if (const auto slice = memory.Slice(GuestAddress{address}, sizeof(T)); slice.has_value()) {
    host = slice->data();
  } else {
    return bad;
  }
  // SAFETY: aligned and inside guest memory, as checked, which stays where it is for the machine's life.
  return reinterpret_cast<T*>(host);
}

// vCPUs of the snapshot that the machine has no more; and where the guest has clock areas for them, which
// nobody will read.
Result<std::vector<uint64_t>> LeaveOut(const snapshot::Ring3State& ring3, int first) {
  std::vector<uint64_t> areas;
  for (int index = first; index < ring3.vcpus_size(); ++index) {
    const snapshot::Ring3Vcpu& vcpu = ring3.vcpus(index);
    if (vcpu.up()) return Error{EINVAL, "vCPU " + std::to_string(index) + " is on, and can't be left out"};
    areas.push_back(vcpu.vcpu_info() + offsetof(VcpuInfo, time));
    areas.push_back(Window::PhysicalOf(kSharedInfoOffset) + offsetof(SharedInfo, vcpu_info) +
                    static_cast<uint64_t>(index) * sizeof(VcpuInfo) + offsetof(VcpuInfo, time));
  }
  return areas;
}

}  // namespace

Result<> SaveState(const GuestMemory& memory, const Window& window, const Clock& clock,
                   const EventChannels& events, const VcpuSet& vcpus, snapshot::MachineState& state) {
  snapshot::Ring3State& ring3 = *state.mutable_ring3();
  ring3.set_monitor_hash(MonitorHash());
  for (const VcpuRunner& runner : vcpus.runners()) {
    snapshot::Ring3Vcpu& vcpu = *ring3.add_vcpus();
    HMVM_TRY(runner.Save(*state.add_vcpus(), vcpu));
    vcpu.set_vcpu_info(
        AddressOf(events.vcpu_info(static_cast<uint32_t>(ring3.vcpus_size() - 1)), memory, window));
  }
  events.Save(ring3);
  for (const PvclockTime* area : clock.Areas()) ring3.add_clock_areas(AddressOf(area, memory, window));
  ring3.set_system_time_ns(clock.NowNs());
  return {};
}

Result<> RestoreState(const snapshot::MachineState& state, const GuestMemory& memory, const Window& window,
                      Clock& clock, EventChannels& events, VcpuSet& vcpus) {
  const snapshot::Ring3State& ring3 = state.ring3();
  const auto count = static_cast<int>(vcpus.runners().size());
  if (!state.has_ring3() || state.vcpus_size() < count || ring3.vcpus_size() != state.vcpus_size()) {
    return Error{EINVAL, "no state of " + std::to_string(count) + " vCPUs of the ring3 platform"};
  }
  if (ring3.monitor_hash() != MonitorHash()) {
    return Error{0,
                 "its guest runs another build's ring3 monitor: only the hmvm that made it can restore it"};
  }
  constexpr uint64_t kLatest = uint64_t{1} << 62;  // 146 years
  if (ring3.system_time_ns() > kLatest) return Error{EINVAL, "system time beyond all time"};
  HMVM_TRY_ASSIGN(const std::vector<uint64_t> left_out, LeaveOut(ring3, count));
  window.Adapt(memory);
  HMVM_TRY(events.Restore(ring3));
  clock.GoOnFrom(ring3.system_time_ns());
  for (const uint64_t address : ring3.clock_areas()) {
    if (std::ranges::find(left_out, address) != left_out.end()) continue;
    HMVM_TRY_ASSIGN(PvclockTime* const area, PlaceAt<PvclockTime>(address, memory, window, "clock area"));
    clock.Publish(area, /*after_pause=*/true);
  }
  clock.PublishWallClock(&window.shared_info());
  for (int index = 0; index < count; ++index) {
    const auto vcpu = static_cast<uint32_t>(index);
    HMVM_TRY_ASSIGN(VcpuInfo* const info,
                    PlaceAt<VcpuInfo>(ring3.vcpus(index).vcpu_info(), memory, window, "vcpu_info"));
    events.SetVcpuInfo(vcpu, info);
    const auto restored = vcpus.runner(vcpu).Restore(state.vcpus(index), ring3.vcpus(index));
    if (!restored.has_value()) return Wrap("vCPU " + std::to_string(index), restored.error());
  }
  return {};
}

}  // namespace hmvm::ring3
