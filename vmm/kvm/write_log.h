// KVM's log of the guest's writes (api.rst, KVM_GET_DIRTY_LOG) as the dirty-page engine takes it.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/kvm/kvm.h"
#include "vmm/memory/dirty_pages.h"

namespace hmvm {

// The bitmap, not the ring: with the ring every page that the guest writes is an entry and, when it is full,
// an exit (measured here 2.7 us a page against 2.2), and it must be emptied by a thread. The bitmap of 4 GiB
// is 128 KiB.
class KvmWriteLog final : public GuestWriteLog {
 public:
  struct Slot {
    uint32_t number = 0;
    MemoryArea area;
  };
  // The slots of the engine's areas, in their order. `vm` outlives this.
  KvmWriteLog(const Vm* vm, std::vector<Slot> slots) : vm_(vm), slots_(std::move(slots)) {}

  Result<> TurnOn() override { return SetFlags(KVM_MEM_LOG_DIRTY_PAGES); }
  Result<> TurnOff() override { return SetFlags(0); }
  Result<> Collect(size_t index, std::span<uint64_t> bits) override {
    return vm_->CollectWritten(slots_[index].number, bits);
  }

 private:
  Result<> SetFlags(uint32_t flags) const {
    for (const Slot& slot : slots_) {
      HMVM_TRY(vm_->SetMemory(slot.number, slot.area.start.value, slot.area.host, flags));
    }
    return {};
  }

  const Vm* vm_;
  std::vector<Slot> slots_;
};

}  // namespace hmvm
