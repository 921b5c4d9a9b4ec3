// virtio-console with a single port (virtio 1.2 §5.3).
#pragma once

#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/byte_ring.h"
#include "vmm/virtio/device.h"

namespace hmvm {

// What the guest prints goes to a descriptor. Linux waits for its console with interrupts off, so a reader
// that is slow or stopped must not stop the guest: when the buffer is full, output is dropped and counted.
class Console final : public VirtioDevice {
 public:
  static constexpr uint16_t kReceiveQueue = 0;
  static constexpr uint16_t kTransmitQueue = 1;
  static constexpr size_t kBufferBytes = 64 << 10;

  struct Options {
    UniqueFd output;  // any kind of file; none: what the guest prints is dropped
    UniqueFd input;   // pipe, socket or terminal; none: the guest never reads anything
  };
  // From the loop's thread or before the loop runs; destroy the device when the loop no longer runs.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);

  std::string_view Name() const override { return "console"; }
  uint32_t DeviceId() const override { return VIRTIO_ID_CONSOLE; }
  uint64_t OfferedFeatures() const override { return kCommonFeatures; }
  std::span<const uint16_t> QueueSizes() const override;
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override;
  void WriteConfig(uint64_t, std::span<const std::byte>) override {}
  Result<> Activate(Activation activation) override;
  void Reset() override;
  bool OnQueueNotify(uint16_t queue) override;
  std::vector<QueueState> QueueStates() const override;
  void Save(snapshot::VirtioState* state) const override;
  Result<> Restore(const snapshot::VirtioState& state) override;
  CounterList Counters() const override;

 private:
  explicit Console(Options options) : options_(std::move(options)) {}

  Result<> WatchFiles(EventLoop& loop);
  void OnInput(EventLoop& loop);
  Result<bool> Transmit();
  Result<bool> Receive();
  void Print(std::span<const iovec> buffers);
  void Flush();

  Options options_;
  Watch output_watch_;  // none when the output is always ready, as files are
  Watch input_watch_;
  ByteRing backlog_{kBufferBytes};
  bool readable_ = false;  // until read says EAGAIN; the watch is edge-triggered
  std::optional<Activation> active_;
  DescriptorChain transmit_chain_;
  DescriptorChain receive_chain_;  // taken and not yet used, if receive_held_
  bool receive_held_ = false;

  uint64_t output_bytes_ = 0;
  uint64_t dropped_bytes_ = 0;
  uint64_t input_bytes_ = 0;
};

}  // namespace hmvm
