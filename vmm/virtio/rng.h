// virtio-rng, the entropy device (virtio 1.2 §5.4): the host's getrandom(2).
#pragma once

#include <optional>

#include "vmm/virtio/device.h"

namespace hmvm {

class Rng final : public VirtioDevice {
 public:
  std::string_view Name() const override { return "rng"; }
  uint32_t DeviceId() const override { return VIRTIO_ID_RNG; }
  uint64_t OfferedFeatures() const override { return kCommonFeatures; }
  std::span<const uint16_t> QueueSizes() const override;
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override;
  void WriteConfig(uint64_t, std::span<const std::byte>) override {}
  Result<> Activate(Activation activation) override;
  void Reset() override { active_.reset(); }
  bool OnQueueNotify(uint16_t queue) override;
  std::vector<QueueState> QueueStates() const override { return StatesOf(active_); }
  CounterList Counters() const override;

 private:
  std::optional<Activation> active_;
  DescriptorChain chain_;
  uint64_t requests_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace hmvm
