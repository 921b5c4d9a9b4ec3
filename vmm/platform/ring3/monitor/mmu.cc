#include "vmm/platform/ring3/monitor/mmu.h"

#include "vmm/platform/ring3/read_once.h"

namespace hmvm::ring3 {
namespace {

bool IsRam(const Cpu& cpu, uint64_t frame) {
  return frame < cpu.low_frames || (frame >= cpu.high_start && frame < cpu.frames);
}
uint64_t FrameOf(uint64_t entry) { return (entry & kEntryAddress) >> 12; }
volatile uint64_t* EntryAt(const Cpu& cpu, uint64_t address) {
  return reinterpret_cast<volatile uint64_t*>(cpu.direct_map + address);
}
volatile uint64_t* TableAt(const Cpu& cpu, uint64_t frame) { return EntryAt(cpu, frame << 12); }
// The level (1 to 4) of a page table whose entries have been given the user bit, 0 for all other pages.
uint8_t& TypeOf(Cpu& cpu, uint64_t frame) { return reinterpret_cast<uint8_t*>(cpu.page_types)[frame]; }

bool LeadsToTable(uint64_t entry, int level) { return level > 1 && (entry & kEntryLarge) == 0; }

// A table comes into use by the kernel's half of the address space: as the kernel runs at CPL 3, its entries
// and those below need the user bit, which Linux does not set. The roots' lower half is the user's, where it
// does.
void Adopt(Cpu& cpu, uint64_t frame, int level) {
  if (!IsRam(cpu, frame)) return;
  TypeOf(cpu, frame) = static_cast<uint8_t>(level);
  volatile uint64_t* const table = TableAt(cpu, frame);
  for (uint64_t i = level == 4 ? kFirstKernelSlot : 0; i < 512; ++i) {
    const uint64_t entry = table[i];
    if ((entry & kEntryPresent) == 0) continue;
    if ((entry & kEntryUser) == 0) table[i] = entry | kEntryUser;
    if (!LeadsToTable(entry, level)) continue;
    const uint64_t next = FrameOf(entry);
    // What is in use has been walked: the kernel's level-3 tables, which all roots share, and with a hostile
    // kernel whatever leads to itself or is led to in many ways. So no table is walked twice.
    if (IsRam(cpu, next) && TypeOf(cpu, next) != 0) continue;
    Adopt(cpu, next, level - 1);
  }
}

int64_t WriteEntry(Cpu& cpu, uint64_t address, uint64_t entry) {
  const uint64_t frame = address >> 12;
  if (!IsRam(cpu, frame)) return kMonitorEinval;
  const int level = TypeOf(cpu, frame);
  if ((entry & kEntryPresent) != 0 && level != 0) {
    entry |= kEntryUser;
    const uint64_t next = FrameOf(entry);
    const bool of_kernel = level != 4 || ((address >> 3) & 511) >= kFirstKernelSlot;
    if (LeadsToTable(entry, level) && of_kernel && IsRam(cpu, next) && TypeOf(cpu, next) != level - 1) {
      Adopt(cpu, next, level - 1);
    }
  }
  volatile uint64_t* const slot = EntryAt(cpu, address & ~7ULL);
  if (*slot != entry) *slot = entry;
  return 0;
}

void FlushLater(Cpu& cpu) { cpu.flush = 1; }

// The level-1 entry that maps `address` in the kernel's root, or nullptr.
volatile uint64_t* EntryOf(Cpu& cpu, uint64_t address) {
  uint64_t frame = cpu.kernel_root >> 12;
  for (int level = 4; level > 1; --level) {
    if (!IsRam(cpu, frame)) return nullptr;
    const uint64_t entry = TableAt(cpu, frame)[(address >> (12 + 9 * (level - 1))) & 511];
    if ((entry & kEntryPresent) == 0 || (entry & kEntryLarge) != 0) return nullptr;
    frame = FrameOf(entry);
  }
  if (!IsRam(cpu, frame)) return nullptr;
  return TableAt(cpu, frame) + ((address >> 12) & 511);
}

// The monitor's slots of a root, before it is first loaded.
int64_t PrepareKernelRoot(Cpu& cpu, uint64_t frame) {
  if (!IsRam(cpu, frame)) return kMonitorEinval;
  volatile uint64_t* const root = TableAt(cpu, frame);
  if (root[kMonitorSlot] != cpu.kernel_view) root[kMonitorSlot] = cpu.kernel_view;
  if (root[kDirectMapSlot] != cpu.kernel_direct_map) root[kDirectMapSlot] = cpu.kernel_direct_map;
  return 0;
}
// A root for the user has nothing in the upper half but the user's view of the monitor. Linux puts its
// vsyscall page's table there, through which the user would reach the whole fixmap; without it the kernel
// emulates vsyscalls on the fault.
int64_t PrepareUserRoot(Cpu& cpu, uint64_t frame) {
  if (!IsRam(cpu, frame)) return kMonitorEinval;
  volatile uint64_t* const root = TableAt(cpu, frame);
  // Last of all written, and never cleared: another vCPU may be running under this root.
  if (root[kMonitorSlot] == cpu.user_view) return 0;
  for (uint64_t i = 256; i < 512; ++i) {
    if (i != kMonitorSlot && root[i] != 0) root[i] = 0;
  }
  root[kMonitorSlot] = cpu.user_view;
  return 0;
}

}  // namespace

int64_t MmuUpdate(Cpu& cpu, const uint64_t* updates, uint64_t count, uint32_t* done) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t pointer = ReadOnce(updates[2 * i]);
    const uint64_t command = pointer & 3;
    const uint64_t address = pointer & ~7ULL;
    uint64_t entry = ReadOnce(updates[2 * i + 1]);
    if (command == kMmuMachphysUpdate) continue;  // machine frames are guest frames: nothing to learn
    if (command == kMmuPreserveAccessedDirty) {
      if (!IsRam(cpu, address >> 12)) return kMonitorEinval;
      entry |= *EntryAt(cpu, address) & kEntryAccessedDirty;
    }
    if (WriteEntry(cpu, address, entry) != 0) return kMonitorEinval;
  }
  cpu.count_page_table_updates += count;
  if (done != nullptr) *done = static_cast<uint32_t>(count);
  return 0;
}

int64_t UpdateVaMapping(Cpu& cpu, uint64_t address, uint64_t entry, uint64_t flags) {
  volatile uint64_t* const slot = EntryOf(cpu, address);
  if (slot == nullptr) return kMonitorEinval;
  const bool of_kernel = (address >> 63) != 0;
  if (of_kernel && (entry & kEntryPresent) != 0) {
    // Linux makes page tables read-only for Xen's sake. Here they stay writable: a native store to one is
    // harmless and much cheaper than its emulation. A page that becomes writable again is no table any more.
    const uint64_t frame = FrameOf(entry);
    if ((entry & kEntryWritable) != 0 && IsRam(cpu, frame)) TypeOf(cpu, frame) = 0;
    entry |= kEntryUser | kEntryWritable;
  }
  const uint64_t old = *slot;
  if (old == entry) return 0;
  *slot = entry;
  // What was not present is in no TLB.
  if ((flags & 3) != 0 && (old & kEntryPresent) != 0) FlushLater(cpu);
  return 0;
}

int64_t MmuExtended(Cpu& cpu, const MmuExtendedOperation* operations, uint64_t count, uint32_t* done) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t command = ReadOnce(operations[i].command);
    const uint64_t argument = ReadOnce(operations[i].argument1);
    switch (command) {
      case kMmuPinL1:
      case kMmuPinL2:
      case kMmuPinL3:
      case kMmuPinL4:
        if (!IsRam(cpu, argument)) return kMonitorEinval;
        Adopt(cpu, argument, static_cast<int>(command - kMmuPinL1) + 1);
        break;
      case kMmuUnpin:
        if (!IsRam(cpu, argument)) return kMonitorEinval;
        TypeOf(cpu, argument) = 0;
        break;
      case kMmuNewRoot:
        if (PrepareKernelRoot(cpu, argument) != 0) return kMonitorEinval;
        cpu.kernel_root = argument << 12;
        FlushLater(cpu);
        break;
      case kMmuNewUserRoot:
        // 0: a kernel thread, which never returns to a user.
        if (argument != 0 && PrepareUserRoot(cpu, argument) != 0) return kMonitorEinval;
        cpu.user_root = argument << 12;
        break;
      case kMmuFlushLocal:
      case kMmuInvlpgLocal:
        FlushLater(cpu);
        break;
      case kMmuFlushMulti:
      case kMmuInvlpgMulti:
        cpu.flush_vcpus |= LoadWord(ReadOnce(operations[i].argument2));
        break;
      case kMmuFlushAll:
      case kMmuInvlpgAll:
        cpu.flush_vcpus = ~uint64_t{0};
        break;
      case kMmuSetLdt:
        break;  // the CPU's own descriptor tables are not the guest's to load: no LDT
      default:
        return kMonitorEinval;
    }
  }
  if (done != nullptr) *done = static_cast<uint32_t>(count);
  return 0;
}

}  // namespace hmvm::ring3
