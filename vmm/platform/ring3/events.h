// Event channels of the two-level ABI: which port stands for what, and the bits that tell the guest.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

// The ports of one machine with one vCPU. Send() is thread-safe; all else belongs to the vCPU's thread.
class EventChannels {
 public:
  // Slots of virtio-mmio devices have the first ports, 1 to kDeviceSlots, bound from the start.
  static constexpr uint32_t kDeviceSlots = 32;
  static constexpr uint32_t DevicePort(uint32_t slot) { return slot + 1; }

  // `shared` and its vcpu_info[0] outlive this; the guest writes to them at any time.
  explicit EventChannels(SharedInfo* shared);

  // Where the guest moved its vcpu_info to; 64 bytes of guest RAM, eight-byte aligned.
  void SetVcpuInfo(VcpuInfo* info) { vcpu_info_.store(info); }
  VcpuInfo* vcpu_info() const { return vcpu_info_.load(); }

  // Makes `port` pending. true: the vCPU has to hear of it (nothing was pending before).
  bool Send(uint32_t port);
  // What became pending while masked counts after unmasking. true as Send.
  bool Unmask(uint32_t port);

  // The new port, or a negative errno for the guest: -EINVAL, -EEXIST, -ENOSPC.
  int64_t BindVirq(uint32_t virq, uint32_t vcpu);
  int64_t BindIpi(uint32_t vcpu);
  // 0, or -EINVAL for a port that is not bound or not the guest's to close.
  int64_t Close(uint32_t port);
  bool IsBound(uint32_t port) const;
  bool IsIpi(uint32_t port) const;
  int64_t Status(uint32_t port, EventStatus* status) const;
  // The port of the timer's virq, 0 when the guest has none.
  uint32_t timer_port() const { return virq_ports_[kVirqTimer]; }

  // Something is pending and the guest takes it.
  bool Deliverable() const;
  bool Pending() const;
  void SetMasked(bool masked);

  uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }

 private:
  enum class Use : uint8_t { kFree, kDevice, kVirq, kIpi };

  int64_t Allocate(Use use);
  bool Notify(uint32_t port);

  SharedInfo* shared_;
  std::atomic<VcpuInfo*> vcpu_info_;
  std::array<Use, kEventChannels> uses_ = {};
  std::array<uint32_t, kVirqs> virq_ports_ = {};
  std::atomic<uint64_t> sent_{0};
};

}  // namespace hmvm::ring3
