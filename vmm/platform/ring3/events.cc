#include "vmm/platform/ring3/events.h"

#include <cerrno>

namespace hmvm::ring3 {
namespace {

// Xen's event_channel.h, EVTCHNSTAT_*
constexpr uint32_t kStatusClosed = 0;
constexpr uint32_t kStatusUnbound = 1;
constexpr uint32_t kStatusVirq = 4;
constexpr uint32_t kStatusIpi = 5;

constexpr uint64_t BitOf(uint32_t port) { return uint64_t{1} << (port % 64); }

}  // namespace

EventChannels::EventChannels(SharedInfo* shared, uint32_t vcpus) : shared_(shared), vcpu_count_(vcpus) {
  for (uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) vcpus_[vcpu].info = &shared->vcpu_info[vcpu];
  for (uint32_t slot = 0; slot < kDeviceSlots; ++slot) ports_[DevicePort(slot)].use = Use::kDevice;
}

uint32_t EventChannels::VcpuOf(uint32_t port) const {
  std::lock_guard lock(mutex_);
  return ports_[port].vcpu;
}

// The order of Xen's: the port's bit, then that of its word, then the byte that the vCPU looks at. Each is a
// full barrier, so that a vCPU which found nothing pending on its way into the guest or to sleep is seen
// there by the caller.
std::optional<uint32_t> EventChannels::Send(uint32_t port) {
  if (port >= kEventChannels) return std::nullopt;
  sent_.fetch_add(1, std::memory_order_relaxed);
  std::atomic_ref<uint64_t> pending(shared_->pending[port / 64]);
  if ((pending.fetch_or(BitOf(port)) & BitOf(port)) != 0) return std::nullopt;
  const uint32_t vcpu = VcpuOf(port);  // now: a guest that moves the port looks for the bit afterwards
  const std::atomic_ref<uint64_t> mask(shared_->mask[port / 64]);
  if ((mask.load() & BitOf(port)) == 0) {
    if (const auto notified = Notify(port, vcpu)) return notified;
  }
  return vcpus_[vcpu].polling ? std::optional(vcpu) : std::nullopt;
}

std::optional<uint32_t> EventChannels::Unmask(uint32_t port) {
  if (port >= kEventChannels) return std::nullopt;
  std::atomic_ref<uint64_t>(shared_->mask[port / 64]).fetch_and(~BitOf(port));
  if (!PortPending(port)) return std::nullopt;
  return Notify(port, VcpuOf(port));
}

void EventChannels::SendTimer(uint32_t vcpu) {
  uint32_t port = 0;
  {
    std::lock_guard lock(mutex_);
    port = virq_ports_[vcpu][kVirqTimer];
  }
  if (port != 0) static_cast<void>(Send(port));
}

std::optional<uint32_t> EventChannels::Notify(uint32_t port, uint32_t vcpu) {
  VcpuInfo* const info = vcpu_info(vcpu);
  std::atomic_ref<uint64_t>(info->pending_sel).fetch_or(uint64_t{1} << (port / 64));
  if (std::atomic_ref<uint8_t>(info->upcall_pending).exchange(1) != 0) return std::nullopt;
  return vcpu;
}

int64_t EventChannels::Allocate(const Port& port) {
  for (uint32_t i = kDeviceSlots + 1; i < kEventChannels; ++i) {
    if (ports_[i].use != Use::kFree) continue;
    ports_[i] = port;
    return i;
  }
  return -ENOSPC;
}

int64_t EventChannels::BindVirq(uint32_t virq, uint32_t vcpu) {
  if (vcpu >= vcpu_count_) return -ENOENT;
  if (virq >= kVirqs) return -EINVAL;
  std::lock_guard lock(mutex_);
  if (virq_ports_[vcpu][virq] != 0) return -EEXIST;
  const int64_t port =
      Allocate({.use = Use::kVirq, .vcpu = static_cast<uint8_t>(vcpu), .virq = static_cast<uint8_t>(virq)});
  if (port > 0) virq_ports_[vcpu][virq] = static_cast<uint32_t>(port);
  return port;
}

int64_t EventChannels::BindIpi(uint32_t vcpu) {
  if (vcpu >= vcpu_count_) return -ENOENT;
  std::lock_guard lock(mutex_);
  return Allocate({.use = Use::kIpi, .vcpu = static_cast<uint8_t>(vcpu)});
}

int64_t EventChannels::BindVcpu(uint32_t port, uint32_t vcpu) {
  if (vcpu >= vcpu_count_) return -ENOENT;
  std::lock_guard lock(mutex_);
  if (port >= kEventChannels || ports_[port].use != Use::kDevice) {
    return -EINVAL;
  }
  ports_[port].vcpu = static_cast<uint8_t>(vcpu);
  return 0;
}

int64_t EventChannels::Close(uint32_t port) {
  std::lock_guard lock(mutex_);
  if (port >= kEventChannels || ports_[port].use == Use::kFree || ports_[port].use == Use::kDevice) {
    return -EINVAL;
  }
  if (ports_[port].use == Use::kVirq) virq_ports_[ports_[port].vcpu][ports_[port].virq] = 0;
  ports_[port] = {};
  std::atomic_ref<uint64_t>(shared_->pending[port / 64]).fetch_and(~BitOf(port));
  return 0;
}

bool EventChannels::IsBound(uint32_t port) const {
  std::lock_guard lock(mutex_);
  return port < kEventChannels && ports_[port].use != Use::kFree;
}
bool EventChannels::IsIpi(uint32_t port) const {
  std::lock_guard lock(mutex_);
  return port < kEventChannels && ports_[port].use == Use::kIpi;
}

int64_t EventChannels::Status(uint32_t port, EventStatus* status) const {
  if (port >= kEventChannels) return -EINVAL;
  std::lock_guard lock(mutex_);
  status->vcpu = ports_[port].vcpu;
  status->virq = 0;
  switch (ports_[port].use) {
    case Use::kFree:
      status->status = kStatusClosed;
      break;
    case Use::kDevice:
      status->status = kStatusUnbound;
      break;
    case Use::kIpi:
      status->status = kStatusIpi;
      break;
    case Use::kVirq:
      status->status = kStatusVirq;
      status->virq = ports_[port].virq;
      break;
  }
  return 0;
}

void EventChannels::Save(snapshot::Ring3State& state) const {
  std::lock_guard lock(mutex_);
  for (uint32_t i = 1; i < kEventChannels; ++i) {
    const Port& port = ports_[i];
    if (port.use == Use::kFree || (port.use == Use::kDevice && port.vcpu == 0)) continue;
    snapshot::Ring3Port* const saved = state.add_ports();
    saved->set_port(i);
    saved->set_use(port.use == Use::kDevice ? snapshot::Ring3Port::DEVICE
                   : port.use == Use::kVirq ? snapshot::Ring3Port::VIRQ
                                            : snapshot::Ring3Port::IPI);
    saved->set_vcpu(port.vcpu);
    saved->set_virq(port.virq);
  }
}

Result<> EventChannels::Restore(const snapshot::Ring3State& state) {
  std::lock_guard lock(mutex_);
  for (const snapshot::Ring3Port& saved : state.ports()) {
    if (!RestorePort(saved)) {
      return Error{EINVAL, "event channel port " + std::to_string(saved.port()) + " can't be bound so"};
    }
  }
  return {};
}

bool EventChannels::RestorePort(const snapshot::Ring3Port& saved) {
  if (saved.port() >= kEventChannels || saved.vcpu() >= vcpu_count_ || saved.virq() >= kVirqs) return false;
  Port& port = ports_[saved.port()];
  const auto vcpu = static_cast<uint8_t>(saved.vcpu());
  switch (saved.use()) {
    case snapshot::Ring3Port::DEVICE:
      if (port.use != Use::kDevice) return false;
      port.vcpu = vcpu;
      return true;
    case snapshot::Ring3Port::VIRQ:
      if (saved.port() == 0 || port.use != Use::kFree || virq_ports_[vcpu][saved.virq()] != 0) return false;
      port = {.use = Use::kVirq, .vcpu = vcpu, .virq = static_cast<uint8_t>(saved.virq())};
      virq_ports_[vcpu][saved.virq()] = saved.port();
      return true;
    case snapshot::Ring3Port::IPI:
      if (saved.port() == 0 || port.use != Use::kFree) return false;
      port = {.use = Use::kIpi, .vcpu = vcpu};
      return true;
    default:
      return false;
  }
}

bool EventChannels::Deliverable(uint32_t vcpu) const {
  VcpuInfo* const info = vcpu_info(vcpu);
  return Pending(vcpu) && std::atomic_ref<uint8_t>(info->upcall_mask).load() == 0;
}
bool EventChannels::Pending(uint32_t vcpu) const {
  return std::atomic_ref<uint8_t>(vcpu_info(vcpu)->upcall_pending).load() != 0;
}
void EventChannels::SetMasked(uint32_t vcpu, bool masked) {
  std::atomic_ref<uint8_t>(vcpu_info(vcpu)->upcall_mask).store(masked ? 1 : 0);
}
bool EventChannels::PortPending(uint32_t port) const {
  return (std::atomic_ref<uint64_t>(shared_->pending[port / 64]).load() & BitOf(port)) != 0;
}

}  // namespace hmvm::ring3
