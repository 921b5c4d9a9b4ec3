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

EventChannels::EventChannels(SharedInfo* shared) : shared_(shared), vcpu_info_(&shared->vcpu_info[0]) {
  for (uint32_t slot = 0; slot < kDeviceSlots; ++slot) uses_[DevicePort(slot)] = Use::kDevice;
}

bool EventChannels::Send(uint32_t port) {
  if (port >= kEventChannels) return false;
  sent_.fetch_add(1, std::memory_order_relaxed);
  std::atomic_ref<uint64_t> pending(shared_->pending[port / 64]);
  if ((pending.fetch_or(BitOf(port)) & BitOf(port)) != 0) return false;
  const std::atomic_ref<uint64_t> mask(shared_->mask[port / 64]);
  if ((mask.load() & BitOf(port)) != 0) return false;
  return Notify(port);
}

bool EventChannels::Unmask(uint32_t port) {
  if (port >= kEventChannels) return false;
  std::atomic_ref<uint64_t>(shared_->mask[port / 64]).fetch_and(~BitOf(port));
  const std::atomic_ref<uint64_t> pending(shared_->pending[port / 64]);
  if ((pending.load() & BitOf(port)) == 0) return false;
  return Notify(port);
}

bool EventChannels::Notify(uint32_t port) {
  VcpuInfo* const info = vcpu_info();
  std::atomic_ref<uint64_t>(info->pending_sel).fetch_or(uint64_t{1} << (port / 64));
  return std::atomic_ref<uint8_t>(info->upcall_pending).exchange(1) == 0;
}

int64_t EventChannels::Allocate(Use use) {
  for (uint32_t port = kDeviceSlots + 1; port < kEventChannels; ++port) {
    if (uses_[port] != Use::kFree) continue;
    uses_[port] = use;
    return port;
  }
  return -ENOSPC;
}

int64_t EventChannels::BindVirq(uint32_t virq, uint32_t vcpu) {
  if (virq >= kVirqs || vcpu != 0) return -EINVAL;
  if (virq_ports_[virq] != 0) return -EEXIST;
  const int64_t port = Allocate(Use::kVirq);
  if (port > 0) virq_ports_[virq] = static_cast<uint32_t>(port);
  return port;
}

int64_t EventChannels::BindIpi(uint32_t vcpu) { return vcpu != 0 ? -EINVAL : Allocate(Use::kIpi); }

int64_t EventChannels::Close(uint32_t port) {
  if (!IsBound(port) || uses_[port] == Use::kDevice) return -EINVAL;
  for (uint32_t& virq_port : virq_ports_) {
    if (virq_port == port) virq_port = 0;
  }
  uses_[port] = Use::kFree;
  std::atomic_ref<uint64_t>(shared_->pending[port / 64]).fetch_and(~BitOf(port));
  return 0;
}

bool EventChannels::IsBound(uint32_t port) const {
  return port < kEventChannels && uses_[port] != Use::kFree;
}
bool EventChannels::IsIpi(uint32_t port) const { return port < kEventChannels && uses_[port] == Use::kIpi; }

int64_t EventChannels::Status(uint32_t port, EventStatus* status) const {
  if (port >= kEventChannels) return -EINVAL;
  status->vcpu = 0;
  status->virq = 0;
  switch (uses_[port]) {
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
      for (uint32_t virq = 0; virq < kVirqs; ++virq) {
        if (virq_ports_[virq] == port) status->virq = virq;
      }
      break;
  }
  return 0;
}

bool EventChannels::Deliverable() const {
  const VcpuInfo* const info = vcpu_info();
  return *const_cast<const volatile uint8_t*>(&info->upcall_pending) != 0 &&
         *const_cast<const volatile uint8_t*>(&info->upcall_mask) == 0;
}
bool EventChannels::Pending() const {
  return *const_cast<const volatile uint8_t*>(&vcpu_info()->upcall_pending) != 0;
}
void EventChannels::SetMasked(bool masked) {
  std::atomic_ref<uint8_t>(vcpu_info()->upcall_mask).store(masked ? 1 : 0);
}

}  // namespace hmvm::ring3
