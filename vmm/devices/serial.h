// A 16550A serial port, output only: for the messages of a kernel before it has a virtio console, and as the
// console of kernels without one. National Semiconductor PC16550D data sheet, "Registers".
#pragma once

#include <atomic>
#include <mutex>

#include "base/result.h"
#include "vmm/devices/bus.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

inline constexpr uint16_t kSerialPort = 0x3f8;  // COM1
inline constexpr uint16_t kSerialPortCount = 8;

class Serial : public BusDevice {
 public:
  // `output` receives the guest's bytes as they are; -1: none. `interrupt` may be nullptr. Both outlive the
  // device.
  Serial(int output, InterruptLine* interrupt) : output_(output), interrupt_(interrupt) {}

  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

  // For snapshots, while no vCPU runs.
  snapshot::SerialState Save() const;
  // EINVAL for registers that no guest could have set so.
  Result<> Restore(const snapshot::SerialState& state);

  // Bytes that `output` had no room for. Thread-safe.
  uint64_t dropped_bytes() const { return dropped_bytes_.load(std::memory_order_relaxed); }

 private:
  uint8_t ReadRegister(uint64_t offset);
  void WriteRegister(uint64_t offset, uint8_t value);
  void Transmit(uint8_t byte);
  void RaiseIfEnabled();

  const int output_;
  InterruptLine* const interrupt_;
  std::atomic<uint64_t> dropped_bytes_ = 0;

  mutable std::mutex mutex_;
  bool transmit_interrupt_pending_ = false;
  uint8_t interrupt_enable_ = 0;
  uint8_t fifo_control_ = 0;
  uint8_t line_control_ = 0;
  uint8_t modem_control_ = 0;
  uint8_t scratch_ = 0;
  uint16_t divisor_ = 1;
};

}  // namespace hmvm
