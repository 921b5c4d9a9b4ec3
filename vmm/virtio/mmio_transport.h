// virtio over MMIO, version 2 (virtio 1.2 §4.2): the registers of one device.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/devices/bus.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device.h"

namespace hmvm {

class MmioTransport final : public BusDevice, private Interrupt {
 public:
  static constexpr uint64_t kWindowBytes = 0x1000;
  // A driver's 32-bit store of N here notifies queue N: where an ioeventfd with data match N goes.
  static constexpr uint64_t kNotifyOffset = 0x050;

  // Registers its watches with `loop` at once, so call it from the loop's thread or before the loop runs.
  // `memory` and `loop` must outlive the transport; destroy it when vCPUs and loop no longer run.
  static Result<std::unique_ptr<MmioTransport>> Create(std::unique_ptr<VirtioDevice> device,
                                                       const GuestMemory& memory,
                                                       std::unique_ptr<InterruptLine> line, EventLoop& loop);
  ~MmioTransport() override;

  // One eventfd per queue: each signal makes the loop call the device's OnQueueNotify. Valid as long as the
  // transport.
  std::span<const UniqueFd> notify_fds() const { return notify_fds_; }

  // BusDevice: the register window. From any vCPU thread.
  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

  // The device's state and the registers, with all threads of the machine held. What is in flight ends first;
  // the error names a device where it does not.
  Result<> Save(snapshot::VirtioState* state);
  // Puts a new transport and its device there, as if the driver had done it, and has the device look at its
  // queues once. EINVAL when no driver could have done it with this device.
  Result<> Restore(const snapshot::VirtioState& state);

  // "blk0.requests", ...: the device's counters and the transport's own. Thread-safe.
  CounterList Counters() const;

 private:
  MmioTransport(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory,
                std::unique_ptr<InterruptLine> line);

  // Interrupt.
  void SignalUsed() override;
  void SignalConfig() override;
  void SetNeedsReset(const Error& why) override;

  // All below with the device's mutex held.
  uint32_t ReadRegister(uint64_t offset) const;
  void WriteRegister(uint64_t offset, uint32_t value);
  void WriteStatus(uint32_t value);
  void WriteDriverFeatures(uint32_t value);
  void WriteQueueRegister(uint64_t offset, uint32_t value);
  bool FeaturesAcceptable() const;
  Result<> Activate();
  Result<> RestoreRegisters(const snapshot::VirtioState& state);
  void Reset();
  void OnNotify(uint16_t queue);
  // What the specification forbids the driver is ignored and counted.
  void Refuse() { ++refused_writes_; }

  std::unique_ptr<VirtioDevice> device_;
  const GuestMemory& memory_;
  std::unique_ptr<InterruptLine> line_;
  std::vector<UniqueFd> notify_fds_;
  std::vector<Watch> notify_watches_;

  // Read and acknowledged without the lock: the driver does both in every interrupt, while the device may be
  // busy.
  std::atomic<uint32_t> interrupt_status_ = 0;
  std::atomic<uint32_t> config_generation_ = 0;
  std::atomic<uint64_t> interrupts_ = 0;

  // Guarded by device_->mutex().
  uint32_t status_ = 0;  // VIRTIO_CONFIG_S_*, §2.1
  uint32_t device_features_select_ = 0;
  uint32_t driver_features_select_ = 0;
  uint64_t driver_features_ = 0;
  uint32_t queue_select_ = 0;
  std::vector<QueueState> queues_;
  uint64_t notifications_ = 0;
  uint64_t resets_ = 0;
  uint64_t needs_reset_ = 0;
  uint64_t refused_writes_ = 0;
};

}  // namespace hmvm
