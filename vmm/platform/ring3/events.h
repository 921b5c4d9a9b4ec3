// Event channels of the two-level ABI: which port stands for what and for which vCPU, and the bits that tell
// the guest.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/result.h"
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/xen.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm::ring3 {

// The ports of one machine. Thread-safe: devices and all vCPUs send, and each vCPU binds.
class EventChannels {
 public:
  // Slots of virtio-mmio devices have the first ports, 1 to kDeviceSlots, bound from the start to vCPU 0.
  static constexpr uint32_t kDeviceSlots = 32;
  static constexpr uint32_t DevicePort(uint32_t slot) { return slot + 1; }

  // `shared` and its vcpu_info outlive this; the guest writes to them at any time. At most kMaxVcpus.
  EventChannels(SharedInfo* shared, uint32_t vcpus);

  // Where the guest moved a vCPU's vcpu_info to; 64 bytes of guest RAM, eight-byte aligned.
  void SetVcpuInfo(uint32_t vcpu, VcpuInfo* info) { vcpus_[vcpu].info.store(info); }
  VcpuInfo* vcpu_info(uint32_t vcpu) const { return vcpus_[vcpu].info.load(); }

  // Makes `port` pending. The vCPU that has to hear of it: it had nothing pending before, or polls.
  std::optional<uint32_t> Send(uint32_t port);
  // What became pending while masked counts after unmasking. Returns as Send.
  std::optional<uint32_t> Unmask(uint32_t port);
  // VIRQ_TIMER of `vcpu`, to be sent by its own thread: it hears of it anyway.
  void SendTimer(uint32_t vcpu);

  // The new port, or a negative errno for the guest: -ENOENT (no such vCPU), -EINVAL, -EEXIST, -ENOSPC.
  int64_t BindVirq(uint32_t virq, uint32_t vcpu);
  int64_t BindIpi(uint32_t vcpu);
  // Moves a device's port to another vCPU. 0, -ENOENT, or -EINVAL: virqs and IPIs belong to theirs.
  int64_t BindVcpu(uint32_t port, uint32_t vcpu);
  // 0, or -EINVAL for a port that is not bound or not the guest's to close.
  int64_t Close(uint32_t port);
  bool IsBound(uint32_t port) const;
  bool IsIpi(uint32_t port) const;
  int64_t Status(uint32_t port, EventStatus* status) const;

  // Something is pending for `vcpu`, and the guest takes it.
  bool Deliverable(uint32_t vcpu) const;
  bool Pending(uint32_t vcpu) const;
  void SetMasked(uint32_t vcpu, bool masked);
  // The port's bit, whoever it is for.
  bool PortPending(uint32_t port) const;
  // While set, a Send to any port of `vcpu` names it, masked or not.
  void SetPolling(uint32_t vcpu, bool polling) { vcpus_[vcpu].polling.store(polling); }

  // For snapshots. The ports that are not as a new machine has them; the bits are in guest memory.
  void Save(snapshot::Ring3State& state) const;
  // On a new object. EINVAL for ports that no guest could have bound so.
  Result<> Restore(const snapshot::Ring3State& state);

  uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }

 private:
  enum class Use : uint8_t { kFree, kDevice, kVirq, kIpi };
  struct Port {
    Use use = Use::kFree;
    uint8_t vcpu = 0;
    uint8_t virq = 0;
  };
  struct PerVcpu {
    std::atomic<VcpuInfo*> info{nullptr};
    std::atomic<bool> polling{false};
  };

  uint32_t VcpuOf(uint32_t port) const;
  int64_t Allocate(const Port& port);
  bool RestorePort(const snapshot::Ring3Port& saved);
  std::optional<uint32_t> Notify(uint32_t port, uint32_t vcpu);

  SharedInfo* shared_;
  uint32_t vcpu_count_;
  std::array<PerVcpu, kMaxVcpus> vcpus_;
  mutable std::mutex mutex_;
  std::array<Port, kEventChannels> ports_;                               // guarded by mutex_
  std::array<std::array<uint32_t, kVirqs>, kMaxVcpus> virq_ports_ = {};  // guarded by mutex_; 0: not bound
  std::atomic<uint64_t> sent_{0};
};

}  // namespace hmvm::ring3
