// The platform's window of guest-physical memory: the monitor's image, for each vCPU a block with descriptor
// tables, stubs and data, shared_info, the page tables of the two views, M2P and page types. The guest kernel
// can write to much of it: what the VMM reads back from it is the guest's word.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

class Window {
 public:
  // Makes the window for `memory` and 1 to kMaxVcpus vCPUs, not yet known to KVM. EINVAL when there is more
  // RAM than its tables can hold.
  static Result<Window> Create(const GuestMemory& memory, uint32_t vcpus);
  // The same, but its memory is left to be filled with what it was in another machine like this one.
  static Result<Window> CreateUnfilled(const GuestMemory& memory, uint32_t vcpus);
  // For a guest that goes on with more memory, or fewer vCPUs, than it was saved with; before it runs.
  void Adapt(const GuestMemory& memory) const;
  // Puts it into the guest's address space.
  Result<> AddTo(const Vm& vm) const;

  // SAFETY of these: offsets are constants inside the mapping, page aligned.
  Cpu& cpu(uint32_t vcpu) const { return *reinterpret_cast<Cpu*>(At(BlockOffset(vcpu) + kBlockCpu)); }
  // Of one view: what the CPU pushed for the exceptions under its page tables.
  Exceptions& exceptions(uint32_t vcpu, bool of_user) const {
    return *reinterpret_cast<Exceptions*>(
        At((of_user ? kUserRing0Offset : 0) + BlockOffset(vcpu) + kBlockExceptions));
  }
  SharedInfo& shared_info() const { return *reinterpret_cast<SharedInfo*>(At(kSharedInfoOffset)); }
  // The monitor's addresses as vCPU `vcpu` has them. Our own copy: the guest can't change it.
  const MonitorHeader& header(uint32_t vcpu) const { return headers_[vcpu]; }
  uint32_t vcpus() const { return static_cast<uint32_t>(headers_.size()); }

  // Level-4 entries for the monitor's slots.
  uint64_t kernel_view() const;
  uint64_t kernel_direct_map() const;

  uint64_t frames() const {
    return frames_;
  }  // one beyond the highest frame of RAM that the guest boots with
  uint64_t page_types_offset() const { return kM2pOffset + frames_ * sizeof(uint64_t); }
  void SetPageType(uint64_t frame, uint8_t level) const;

  std::span<std::byte> bytes() const { return mapping_.bytes(); }

  static constexpr uint64_t BlockOffset(uint32_t vcpu) { return kBlockOffset + vcpu * kBlockBytes; }
  // Addresses in the guest.
  static constexpr uint64_t AddressOf(uint64_t offset) { return kMonitorBase + offset; }
  // Of an offset below kRing0Bytes, as ring 0 sees it in either view.
  static constexpr uint64_t Ring0AddressOf(uint64_t offset) { return kRing0Base + offset; }
  static constexpr uint64_t PhysicalOf(uint64_t offset) { return kPlatformWindowStart + offset; }
  static bool Contains(uint64_t address) { return address - kMonitorBase < kWindowMax + kRing0Bytes; }

 private:
  Window(Mapping mapping, uint64_t frames) : mapping_(std::move(mapping)), frames_(frames) {}
  void AddHeader(const MonitorHeader& image);
  void Fill(const GuestMemory& memory) const;

  std::byte* At(uint64_t offset) const { return mapping_.data() + offset; }
  uint64_t* TableAt(uint64_t index) const;  // the page-table page `index` of the window
  void BuildM2p(const GuestMemory& memory) const;
  void BuildViews() const;
  void BuildDirectMap(std::span<const GuestMemory::Region> regions) const;
  void MapBlock(uint64_t block) const;
  void BuildRing0(uint32_t vcpu, bool of_user) const;
  void BuildCpu(uint32_t vcpu, uint32_t vcpus, const GuestMemory& memory) const;

  Mapping mapping_;
  uint64_t frames_;
  std::vector<MonitorHeader> headers_;  // one a vCPU
};

}  // namespace hmvm::ring3
