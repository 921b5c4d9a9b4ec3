#include "vmm/platform/ring3/window.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"
#include "vmm/platform/ring3/monitor_image.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kLargePage = 2 << 20;
constexpr uint64_t kGigabyte = 1 << 30;

// Page-table pages of the window, in order from kTablesOffset.
enum Table : uint64_t {
  kKernelLevel3,
  kKernelLevel2,
  kKernelImage,   // level 1 of the image and the block
  kKernelShared,  // level 1 of the 2 MiB with shared_info
  kUserLevel3,
  kUserLevel2,
  kUserImage,
  kDirectLevel3,
  kDirectLevel2,  // one for each GiB
};
constexpr uint64_t kMaxDirectLevel2 = (kTablesEnd - kTablesOffset) / kPageSize - kDirectLevel2;

// Accessed and dirty from the start: else the CPU would set the bits in a root, which then would no longer
// look as the monitor has prepared it.
constexpr uint64_t kUsed = kEntryPresent | kEntryAccessedDirty;
constexpr uint64_t kTable = kUsed | kEntryWritable | kEntryUser;
constexpr uint64_t kUserCode = kUsed | kEntryUser;
constexpr uint64_t kUserData = kUsed | kEntryUser | kEntryWritable | kEntryNoExecute;
// Out of reach at CPL 3. Writable: exceptions push to it. Executable bits don't matter to data at CPL 0.
constexpr uint64_t kSupervisor = kUsed | kEntryWritable;

constexpr uint64_t kBreakpoint = 3;
constexpr uint64_t kPageFault = 14;
// Entries of the interrupt stack table, by what is pushed there (struct Exceptions).
constexpr uint64_t kBreakpointStack = 1;
constexpr uint64_t kFaultStack = 2;
constexpr uint64_t kReturnStack = 3;
constexpr uint64_t kFullStack = 4;

// An interrupt gate (Intel SDM volume 3 §6.14.1); the second half has the upper 32 bits of the handler.
constexpr uint64_t FirstHalfOfGate(uint64_t vector, uint64_t handler, uint64_t stack) {
  constexpr uint64_t kInterruptGate = 0x8e;
  constexpr uint64_t kStubsCs = 0x10;
  const uint64_t type = kInterruptGate | (vector == kBreakpoint ? 3 << 5 : 0);
  return (handler & 0xffff) | (kStubsCs << 16) | (stack << 32) | (type << 40) |
         (((handler >> 16) & 0xffff) << 48);
}
uint64_t ExitStub(const MonitorHeader& monitor, uint64_t vector) {
  return monitor.stub_exits + vector * kExitStubBytes;
}

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

uint64_t PhysicalOfTable(uint64_t index) { return Window::PhysicalOf(kTablesOffset + index * kPageSize); }

uint64_t FramesOf(std::span<const GuestMemory::Region> regions) {
  return (regions.back().start.value + regions.back().host.size()) / kPageSize;
}
// One beyond the highest frame that memory may ever have.
uint64_t ReachOf(const GuestMemory& memory) {
  return memory.region_bytes() == 0 ? FramesOf(memory.regions())
                                    : (kHighRamStart + memory.region_bytes()) / kPageSize;
}

}  // namespace

Result<Window> Window::Create(const GuestMemory& memory, uint32_t vcpus) {
  HMVM_TRY_ASSIGN(Window window, CreateUnfilled(memory, vcpus));
  window.Fill(memory);
  return window;
}

Result<Window> Window::CreateUnfilled(const GuestMemory& memory, uint32_t vcpus) {
  // What is added later needs no M2P: Linux takes frames beyond it for what they are.
  const uint64_t frames = FramesOf(memory.booted_regions());
  const uint64_t reach = ReachOf(memory);
  const uint64_t bytes = RoundUp(kM2pOffset + frames * sizeof(uint64_t) + reach, kLargePage);
  if (bytes > std::min(kWindowMax, kGigabyte) ||
      RoundUp(reach * kPageSize, kGigabyte) / kGigabyte > kMaxDirectLevel2) {
    return Error{EINVAL, "the ring3 platform takes at most 220 GiB of guest memory"};
  }
  const std::span<const std::byte> image = MonitorImage();
  MonitorHeader header;
  if (image.size() < sizeof(header) || image.size() > kBlockOffset + kBlockEntryUser + kPageSize) {
    return Error{ENOEXEC, "the built-in ring3 monitor has a wrong size"};
  }
  std::memcpy(&header, image.data(), sizeof(header));
  if (header.magic != kMonitorMagic) return Error{ENOEXEC, "the built-in ring3 monitor has no header"};

  HMVM_TRY_ASSIGN(Mapping mapping, Mapping::Anonymous(bytes));
  Window window(std::move(mapping), frames);
  for (uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) window.AddHeader(header);
  return window;
}

void Window::Fill(const GuestMemory& memory) const {
  const std::span<const std::byte> image = MonitorImage();
  std::memcpy(At(0), image.data(), kBlockOffset);
  BuildM2p(memory);
  BuildViews();
  BuildDirectMap(memory.regions());
  for (uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
    // The code in a block reaches its own data relative to rip: a copy of the image's block serves each vCPU.
    std::memcpy(At(BlockOffset(vcpu)), image.data() + kBlockOffset, image.size() - kBlockOffset);
    MapBlock(BlockOffset(vcpu));
    BuildRing0(vcpu, /*of_user=*/false);
    BuildRing0(vcpu, /*of_user=*/true);
    BuildCpu(vcpu, vcpus(), memory);
  }
}

void Window::Adapt(const GuestMemory& memory) const {
  BuildDirectMap(memory.regions().subspan(memory.booted_regions().size()));
  for (uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
    cpu(vcpu).vcpus = vcpus();
    cpu(vcpu).frames = FramesOf(memory.regions());
  }
}

Result<> Window::AddTo(const Vm& vm) const {
  return vm.SetMemory(kFirstPlatformMemorySlot, kPlatformWindowStart, mapping_.bytes());
}

uint64_t* Window::TableAt(uint64_t index) const {
  // SAFETY: page aligned, and callers stay below kTablesEnd.
  return reinterpret_cast<uint64_t*>(At(kTablesOffset + index * kPageSize));
}

// The image's header names addresses of the first vCPU's block and of the common text, which all share. Stubs
// are run at their place in ring 0's page.
void Window::AddHeader(const MonitorHeader& image) {
  static_assert(sizeof(MonitorHeader) % sizeof(uint64_t) == 0);
  std::array<uint64_t, sizeof(MonitorHeader) / sizeof(uint64_t)> addresses;
  std::memcpy(addresses.data(), &image, sizeof(image));
  for (uint64_t& address : addresses) {
    const uint64_t in_block = address - AddressOf(kBlockOffset);
    if (in_block >= kBlockBytes) continue;
    address += headers_.size() * kBlockBytes;
    if (in_block - kBlockStubs < kPageSize) address += kRing0Base - kMonitorBase;
  }
  std::memcpy(&headers_.emplace_back(), addresses.data(), sizeof(image));
}

uint64_t Window::kernel_view() const { return PhysicalOfTable(kKernelLevel3) | kTable; }
uint64_t Window::kernel_direct_map() const { return PhysicalOfTable(kDirectLevel3) | kTable; }

void Window::SetPageType(uint64_t frame, uint8_t level) const {
  *At(page_types_offset() + frame) = std::byte{level};
}

void Window::BuildM2p(const GuestMemory& memory) const {
  // SAFETY: kM2pOffset is page aligned and Create() made room for frames_ entries.
  const std::span m2p(reinterpret_cast<uint64_t*>(At(kM2pOffset)), frames_);
  if (memory.booted_regions().size() > 1) std::ranges::fill(m2p, kInvalidFrame);
  for (const GuestMemory::Region& region : memory.booted_regions()) {
    const uint64_t first = region.start.value / kPageSize;
    for (uint64_t i = 0; i < region.host.size() / kPageSize; ++i) m2p[first + i] = first + i;
  }
}

void Window::BuildViews() const {
  TableAt(kKernelLevel3)[0] = PhysicalOfTable(kKernelLevel2) | kTable;
  uint64_t* const kernel = TableAt(kKernelLevel2);
  kernel[0] = PhysicalOfTable(kKernelImage) | kTable;
  kernel[kSharedInfoOffset / kLargePage] = PhysicalOfTable(kKernelShared) | kTable;
  for (uint64_t offset = kM2pOffset; offset < mapping_.size(); offset += kLargePage) {
    kernel[offset / kLargePage] = PhysicalOf(offset) | kUserData | kEntryLarge;
  }
  TableAt(kKernelShared)[0] = PhysicalOf(kSharedInfoOffset) | kUserData;

  TableAt(kUserLevel3)[0] = PhysicalOfTable(kUserLevel2) | kTable;
  TableAt(kUserLevel2)[0] = PhysicalOfTable(kUserImage) | kTable;

  constexpr uint64_t kRing0Entry = (kRing0Base - kMonitorBase) / kLargePage;
  kernel[kRing0Entry] = PhysicalOf(0) | kSupervisor | kEntryLarge;
  TableAt(kUserLevel2)[kRing0Entry] = PhysicalOf(kUserRing0Offset) | kSupervisor | kEntryLarge;

  for (uint64_t offset = 0; offset < kBlockOffset; offset += kPageSize) {
    TableAt(kKernelImage)[offset / kPageSize] = PhysicalOf(offset) | kUserCode;
  }
}

void Window::BuildDirectMap(std::span<const GuestMemory::Region> regions) const {
  for (const GuestMemory::Region& region : regions) {
    const uint64_t end = RoundUp(region.start.value + region.host.size(), kLargePage);
    for (uint64_t address = region.start.value; address < end; address += kLargePage) {
      const uint64_t gigabyte = address / kGigabyte;
      TableAt(kDirectLevel3)[gigabyte] = PhysicalOfTable(kDirectLevel2 + gigabyte) | kTable;
      TableAt(kDirectLevel2 + gigabyte)[address % kGigabyte / kLargePage] = address | kUserData | kEntryLarge;
    }
  }
}

void Window::MapBlock(uint64_t block) const {
  const auto map = [this, block](Table table, uint64_t page, uint64_t memory_page, uint64_t flags) {
    TableAt(table)[(block + page) / kPageSize] = PhysicalOf(block + memory_page) | flags;
  };
  // Writable: the monitor turns the gate of its int3.
  map(kKernelImage, kBlockIdt, kBlockIdt, kUserData);
  map(kKernelImage, kBlockExceptions, kBlockExceptions, kUserData);
  map(kKernelImage, kBlockUserExceptions, kUserRing0Offset + kBlockExceptions, kUserData);
  map(kKernelImage, kBlockCpu, kBlockCpu, kUserData);
  map(kKernelImage, kBlockEntry, kBlockEntry, kUserCode);
  for (uint64_t page = kBlockStack; page < kBlockStackTop; page += kPageSize) {
    map(kKernelImage, page, page, kUserData);
  }
  // All that a guest's user can reach: a page of int3, and two instructions.
  map(kUserImage, kBlockEntry, kBlockEntryUser, kUserCode);
}

void Window::BuildRing0(uint32_t vcpu, bool of_user) const {
  const uint64_t block = BlockOffset(vcpu);
  const MonitorHeader& monitor = header(vcpu);
  std::byte* const pages = At(block + (of_user ? kUserRing0Offset : 0));
  if (of_user) std::memcpy(pages + kBlockStubs, At(block + kBlockStubs), kPageSize);
  // Flat segments, accessed bits set so that nothing is ever written back.
  constexpr uint64_t kGdt[] = {
      0,
      0x00af9b000000ffff,  // 0x08
      0x00af9b000000ffff,  // 0x10: CPL 0 code of the stubs, STAR's kernel selector
      0x00cf93000000ffff,  // 0x18: CPL 0 data
      0x00cffb000000ffff,  // 0x23: CPL 3 code, 32 bits
      0x00cff3000000ffff,  // 0x2b: CPL 3 data
      0x00affb000000ffff,  // 0x33: CPL 3 code
  };
  std::byte* const gdt = pages + kBlockGdt;
  std::memcpy(gdt, kGdt, sizeof(kGdt));

  // 64-bit TSS (Intel SDM volume 3 §8.7): where exceptions are pushed, and no I/O bitmap, so that every port
  // access at CPL 3 is a #GP.
  constexpr uint64_t kRsp0 = 4;
  constexpr uint64_t kIst1 = 36;
  constexpr uint64_t kIoMapBase = 102;
  const auto set_stack = [gdt, block](uint64_t field, uint64_t top) {
    const uint64_t stack = Ring0AddressOf(block + kBlockExceptions + top);
    std::memcpy(gdt + kTssInGdtPage + field, &stack, sizeof(stack));
  };
  set_stack(kRsp0, OTHER_STACK);
  set_stack(kIst1 + 8 * (kBreakpointStack - 1), BREAKPOINT_STACK);
  set_stack(kIst1 + 8 * (kFaultStack - 1), FAULT_STACK);
  set_stack(kIst1 + 8 * (kReturnStack - 1), RETURN_STACK);
  set_stack(kIst1 + 8 * (kFullStack - 1), FULL_STACK);
  const uint16_t no_bitmap = 0xffff;
  std::memcpy(gdt + kTssInGdtPage + kIoMapBase, &no_bitmap, sizeof(no_bitmap));

  const auto set_gate = [pages](uint64_t vector, uint64_t handler, uint64_t stack) {
    const uint64_t gate[2] = {FirstHalfOfGate(vector, handler, stack), handler >> 32};
    std::memcpy(pages + kBlockIdt + vector * sizeof(gate), gate, sizeof(gate));
  };
  for (uint64_t vector = 0; vector < kVectors; ++vector) set_gate(vector, ExitStub(monitor, vector), 0);
  if (of_user) {
    set_gate(kBreakpoint, monitor.stub_enter, kBreakpointStack);
    set_gate(kPageFault, monitor.stub_fault_user, kFaultStack);
  } else {
    set_gate(kPageFault, monitor.stub_fault_kernel, 0);
  }
}

void Window::BuildCpu(uint32_t vcpu, uint32_t vcpus, const GuestMemory& memory) const {
  const uint64_t block = BlockOffset(vcpu);
  const MonitorHeader& monitor = header(vcpu);
  constexpr uint64_t kFlags = 0x202;
  Cpu& data = cpu(vcpu);
  data = {};
  const auto frame = [block](uint64_t rip) {
    return InterruptFrame{rip, kUserCs, kFlags, AddressOf(block + kBlockStackTop), kUserSs};
  };
  Exceptions& of_kernel = exceptions(vcpu, false);
  Exceptions& of_user = exceptions(vcpu, true);
  of_kernel = {};
  of_user = {};
  of_kernel.breakpoint = frame(monitor.enter);
  of_kernel.fault_lead = frame(monitor.fault_user);
  of_kernel.fault_kernel_frame = frame(monitor.fault_kernel);
  // The rest of these is the return's to fill in.
  of_user.gate = of_user.full = frame(0);
  data.gate_closed = FirstHalfOfGate(kBreakpoint, ExitStub(monitor, kBreakpoint), 0);
  data.gate_load = FirstHalfOfGate(kBreakpoint, monitor.stub_load, kReturnStack);
  data.gate_return = FirstHalfOfGate(kBreakpoint, monitor.stub_return, kReturnStack);
  data.gate_return_full = FirstHalfOfGate(kBreakpoint, monitor.stub_return_full, kFullStack);
  data.breakpoint_gate = AddressOf(block + kBlockIdt + IDT_BREAKPOINT);
  data.vcpu_info = AddressOf(kSharedInfoOffset + offsetof(SharedInfo, vcpu_info) + vcpu * sizeof(VcpuInfo));
  // Until the kernel names its own: an end with a report instead of a loop of page faults.
  data.syscall_entry = monitor.monitor_dead;
  data.event_entry = monitor.monitor_dead;
  data.page_fault_entry = monitor.monitor_dead;
  data.on_hypercall = monitor.on_hypercall;
  data.on_enter = monitor.on_enter;
  data.on_inject = monitor.on_inject;
  data.on_bad_return = monitor.on_bad_return;
  data.vcpu = vcpu;
  data.vcpus = vcpus;
  data.low_frames = memory.regions()[0].host.size() / kPageSize;
  data.high_start = kHighRamStart / kPageSize;
  data.frames = FramesOf(memory.regions());
  data.page_types = AddressOf(page_types_offset());
  data.direct_map = kDirectMapBase;
  data.kernel_view = kernel_view();
  data.kernel_direct_map = kernel_direct_map();
  data.user_view = PhysicalOfTable(kUserLevel3) | kTable;
}

}  // namespace hmvm::ring3
