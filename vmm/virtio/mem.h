// virtio-mem (virtio 1.2 §5.15): memory that a guest gets after its boot, in blocks.
#pragma once

#include <linux/virtio_mem.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/api/added_memory.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device.h"

namespace hmvm {

// The region is address space alone. Only the front of it, GuestMemory's added region, is memory, of which
// the driver may plug all: requested is what there is.
class Mem final : public VirtioDevice {
 public:
  static constexpr uint64_t kBlockBytes = kMemoryBlockBytes;
  static constexpr uint64_t kRegionUnitBytes = 128 << 20;  // Linux's memory block: it uses no part of one

  // The region of `memory` is whole units, what is added whole blocks. It outlives this.
  explicit Mem(const GuestMemory& memory);

  std::string_view Name() const override { return "mem"; }
  uint32_t DeviceId() const override { return VIRTIO_ID_MEM; }
  uint64_t OfferedFeatures() const override {
    return kCommonFeatures | 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE;
  }
  std::span<const uint16_t> QueueSizes() const override;
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override;
  void WriteConfig(uint64_t, std::span<const std::byte>) override {}
  Result<> Activate(Activation activation) override;
  // What is plugged stays so: the guest may use it still.
  void Reset() override { active_.reset(); }
  bool OnQueueNotify(uint16_t queue) override;
  std::vector<QueueState> QueueStates() const override { return StatesOf(active_); }
  void Save(snapshot::VirtioState* state) const override;
  // The memory may have become more, which the driver is told.
  Result<> Restore(const snapshot::VirtioState& state) override;
  CounterList Counters() const override;

 private:
  // Blocks [first, first + count) of the memory there is, by a driver's request.
  struct Range {
    size_t first;
    size_t count;
  };

  virtio_mem_resp Handle(const virtio_mem_req& request);
  std::optional<Range> Check(uint64_t address, uint16_t blocks) const;
  bool All(Range range, bool plugged) const;
  uint16_t Plug(uint64_t address, uint16_t blocks);
  uint16_t Unplug(uint64_t address, uint16_t blocks);
  uint16_t State(uint64_t address, uint16_t blocks, virtio_mem_resp_state& state) const;
  void Give(Range range);
  virtio_mem_config Config() const;

  const GuestMemory& memory_;
  const std::span<std::byte> added_;
  std::vector<bool> plugged_;  // a block each
  size_t plugged_blocks_ = 0;
  std::optional<Activation> active_;
  DescriptorChain chain_;
  uint64_t requests_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace hmvm
