// The monitor's C++: hypercalls that need no exit, and the frames of traps and events. Runs natively at CPL 3
// under the guest kernel's page tables, on the vCPU's monitor stack. A page fault in here ends the hypercall
// with -EFAULT (entry.S, fault_monitor), so pointers of the guest's are followed without ado: they lead to
// what the guest kernel could reach by itself.
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

struct SavedRegisters {
  uint64_t rax, rdi, rsi, rdx, r8, r9, r10, r11, rcx;
};

constexpr int64_t kEinval = -22;

extern "C" void load_root();
extern "C" void call_vmm();

void WriteGsBase(uint64_t base) { asm volatile("wrgsbase %0" : : "r"(base)); }
void WriteFsBase(uint64_t base) { asm volatile("wrfsbase %0" : : "r"(base)); }

int64_t CallVmm(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  cpu.call.number = number;
  cpu.call.arguments[0] = a;
  cpu.call.arguments[1] = b;
  cpu.call.arguments[2] = c;
  cpu.call.arguments[3] = d;
  cpu.call.arguments[4] = e;
  asm volatile("call call_vmm" : : : "memory");
  return *const_cast<volatile int64_t*>(&cpu.call.result);
}

// ---- page tables ----

bool IsRam(const Cpu& cpu, uint64_t frame) {
  return frame < cpu.low_frames || (frame >= cpu.high_start && frame < cpu.frames);
}
uint64_t FrameOf(uint64_t entry) { return (entry & kEntryAddress) >> 12; }
volatile uint64_t* TableAt(uint64_t frame) {
  return reinterpret_cast<volatile uint64_t*>(kDirectMapBase + (frame << 12));
}
// The level (1 to 4) of a page table whose entries have been given the user bit, 0 for all other pages.
uint8_t& TypeOf(Cpu& cpu, uint64_t frame) { return reinterpret_cast<uint8_t*>(cpu.page_types)[frame]; }

bool LeadsToTable(uint64_t entry, int level) { return level > 1 && (entry & kEntryLarge) == 0; }

// A table comes into use by the kernel's half of the address space: as the kernel runs at CPL 3, its entries
// and those below need the user bit, which Linux does not set. The roots' lower half is the user's, where it
// does.
void Adopt(Cpu& cpu, uint64_t frame, int level) {
  if (!IsRam(cpu, frame)) return;
  TypeOf(cpu, frame) = static_cast<uint8_t>(level);
  volatile uint64_t* const table = TableAt(frame);
  for (uint64_t i = level == 4 ? kFirstKernelSlot : 0; i < 512; ++i) {
    const uint64_t entry = table[i];
    if ((entry & kEntryPresent) == 0) continue;
    if ((entry & kEntryUser) == 0) table[i] = entry | kEntryUser;
    if (!LeadsToTable(entry, level)) continue;
    const uint64_t next = FrameOf(entry);
    // The kernel's level-3 tables are shared by all roots: done once.
    if (level == 4 && IsRam(cpu, next) && TypeOf(cpu, next) == 3) continue;
    Adopt(cpu, next, level - 1);
  }
}

int64_t WriteEntry(Cpu& cpu, uint64_t address, uint64_t entry) {
  const uint64_t frame = address >> 12;
  if (!IsRam(cpu, frame)) return kEinval;
  const int level = TypeOf(cpu, frame);
  if ((entry & kEntryPresent) != 0 && level != 0) {
    entry |= kEntryUser;
    const uint64_t next = FrameOf(entry);
    const bool of_kernel = level != 4 || ((address >> 3) & 511) >= kFirstKernelSlot;
    if (LeadsToTable(entry, level) && of_kernel && IsRam(cpu, next) && TypeOf(cpu, next) != level - 1) {
      Adopt(cpu, next, level - 1);
    }
  }
  volatile uint64_t* const slot = reinterpret_cast<volatile uint64_t*>(kDirectMapBase + (address & ~7ULL));
  if (*slot != entry) *slot = entry;
  return 0;
}

void FlushLater(Cpu& cpu) { cpu.flush = 1; }

// mmu_update (Xen public/xen.h): pairs of an address with a command in its low bits, and a value.
int64_t MmuUpdate(Cpu& cpu, const uint64_t* updates, uint64_t count, uint32_t* done) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t command = updates[2 * i] & 3;
    const uint64_t address = updates[2 * i] & ~7ULL;
    uint64_t entry = updates[2 * i + 1];
    if (command == kMmuMachphysUpdate) continue;  // machine frames are guest frames: nothing to learn
    if (command == kMmuPreserveAccessedDirty) {
      if (!IsRam(cpu, address >> 12)) return kEinval;
      entry |= *reinterpret_cast<volatile uint64_t*>(kDirectMapBase + address) & kEntryAccessedDirty;
    }
    if (WriteEntry(cpu, address, entry) != 0) return kEinval;
  }
  cpu.count_page_table_updates += count;
  if (done != nullptr) *done = static_cast<uint32_t>(count);
  return 0;
}

// The level-1 entry that maps `address` in the kernel's root, or nullptr.
volatile uint64_t* EntryOf(Cpu& cpu, uint64_t address) {
  uint64_t frame = cpu.kernel_root >> 12;
  for (int level = 4; level > 1; --level) {
    if (!IsRam(cpu, frame)) return nullptr;
    const uint64_t entry = TableAt(frame)[(address >> (12 + 9 * (level - 1))) & 511];
    if ((entry & kEntryPresent) == 0 || (entry & kEntryLarge) != 0) return nullptr;
    frame = FrameOf(entry);
  }
  if (!IsRam(cpu, frame)) return nullptr;
  return TableAt(frame) + ((address >> 12) & 511);
}

int64_t UpdateVaMapping(Cpu& cpu, uint64_t address, uint64_t entry, uint64_t flags) {
  volatile uint64_t* const slot = EntryOf(cpu, address);
  if (slot == nullptr) return kEinval;
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

// The monitor's slots of a root, before it is first loaded.
int64_t PrepareKernelRoot(Cpu& cpu, uint64_t frame) {
  if (!IsRam(cpu, frame)) return kEinval;
  volatile uint64_t* const root = TableAt(frame);
  if (root[kMonitorSlot] != cpu.kernel_view) root[kMonitorSlot] = cpu.kernel_view;
  if (root[kDirectMapSlot] != cpu.kernel_direct_map) root[kDirectMapSlot] = cpu.kernel_direct_map;
  return 0;
}
// A root for the user has nothing in the upper half but the user's view of the monitor. Linux puts its
// vsyscall page's table there, through which the user would reach the whole fixmap; without it the kernel
// emulates vsyscalls on the fault.
int64_t PrepareUserRoot(Cpu& cpu, uint64_t frame) {
  if (!IsRam(cpu, frame)) return kEinval;
  volatile uint64_t* const root = TableAt(frame);
  if (root[kMonitorSlot] == cpu.user_view) return 0;
  for (uint64_t i = 256; i < 512; ++i) {
    if (root[i] != 0) root[i] = 0;
  }
  root[kMonitorSlot] = cpu.user_view;
  return 0;
}

int64_t MmuExtended(Cpu& cpu, const MmuExtendedOperation* operations, uint64_t count, uint32_t* done) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t argument = operations[i].argument1;
    switch (operations[i].command) {
      case kMmuPinL1:
      case kMmuPinL2:
      case kMmuPinL3:
      case kMmuPinL4:
        if (!IsRam(cpu, argument)) return kEinval;
        Adopt(cpu, argument, static_cast<int>(operations[i].command - kMmuPinL1) + 1);
        break;
      case kMmuUnpin:
        if (!IsRam(cpu, argument)) return kEinval;
        TypeOf(cpu, argument) = 0;
        break;
      case kMmuNewRoot:
        if (PrepareKernelRoot(cpu, argument) != 0) return kEinval;
        cpu.kernel_root = argument << 12;
        cpu.enter_root = cpu.kernel_root;
        FlushLater(cpu);
        break;
      case kMmuNewUserRoot:
        // 0: a kernel thread, which never returns to a user.
        if (argument != 0 && PrepareUserRoot(cpu, argument) != 0) return kEinval;
        cpu.user_root = argument << 12;
        break;
      case kMmuFlushLocal:
      case kMmuInvlpgLocal:
      case kMmuFlushMulti:
      case kMmuInvlpgMulti:
      case kMmuFlushAll:
      case kMmuInvlpgAll:
        FlushLater(cpu);
        break;
      case kMmuSetLdt:
        break;  // the CPU's own descriptor tables are not the guest's to load: no LDT
      default:
        return kEinval;
    }
  }
  if (done != nullptr) *done = static_cast<uint32_t>(count);
  return 0;
}

// ---- hypercalls ----

bool IsCanonical(uint64_t address) {
  return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address;
}

int64_t SetSegmentBase(Cpu& cpu, uint64_t which, uint64_t base) {
  if (which != kSegmentGsUserSelector && !IsCanonical(base)) return kEinval;
  switch (which) {
    case kSegmentFs:
      WriteFsBase(base);
      return 0;
    case kSegmentGsUser:
      cpu.user_gs = base;
      return 0;
    case kSegmentGsKernel:
      cpu.kernel_gs = base;
      WriteGsBase(base);
      return 0;
    case kSegmentGsUserSelector:
      cpu.user_gs = 0;  // no selector but null can be loaded
      return 0;
    default:
      return kEinval;
  }
}

int64_t Dispatch(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);

int64_t Multicall(Cpu& cpu, MulticallEntry* calls, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    MulticallEntry& call = calls[i];
    if (call.number == kHypercallMulticall) {
      call.result = kEinval;
      continue;
    }
    call.result = Dispatch(cpu, call.number, call.arguments[0], call.arguments[1], call.arguments[2],
                           call.arguments[3], call.arguments[4]);
  }
  return 0;
}

int64_t Dispatch(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  if (number < kHypercalls) ++cpu.count_hypercalls[number];
  switch (number) {
    case kHypercallMmuUpdate:
      return MmuUpdate(cpu, reinterpret_cast<const uint64_t*>(a), b, reinterpret_cast<uint32_t*>(c));
    case kHypercallStackSwitch:
      cpu.kernel_sp = b;
      return 0;
    case kHypercallFpuTaskswitch:
    case kHypercallSetGdt:
    case kHypercallUpdateDescriptor:
      // CR0.TS is never set as Linux switches FPU state eagerly; descriptor tables: see kMmuSetLdt.
      return 0;
    case kHypercallMulticall:
      return Multicall(cpu, reinterpret_cast<MulticallEntry*>(a), b);
    case kHypercallUpdateVaMapping:
      return UpdateVaMapping(cpu, a, b, c);
    case kHypercallSetSegmentBase:
      return SetSegmentBase(cpu, a, b);
    case kHypercallMmuextOp:
      return MmuExtended(cpu, reinterpret_cast<const MmuExtendedOperation*>(a), b,
                         reinterpret_cast<uint32_t*>(c));
    default:
      return CallVmm(cpu, number, a, b, c, d, e);
  }
}

void FlushIfDue(Cpu& cpu) {
  if (cpu.flush == 0) return;
  cpu.flush = 0;
  ++cpu.count_flushes;
  cpu.gate_root = cpu.kernel_root;
  asm volatile("call load_root" : : : "rax", "memory");
}

// ---- traps and events ----

struct Interrupted {
  bool user;
  uint64_t rip;
  uint64_t rflags;
  uint64_t rsp;
};

bool HasErrorCode(uint64_t vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

// Builds the frame that Xen would on the kernel's stack; entry.S goes on at deliver_target with it.
void Deliver(Cpu& cpu, const SavedRegisters& registers, const Interrupted& from, uint64_t vector,
             uint64_t error) {
  constexpr uint64_t kInterruptFlag = 0x200;
  uint8_t* const vcpu_info = reinterpret_cast<uint8_t*>(cpu.vcpu_info);
  const bool masked = vcpu_info[VCPU_INFO_MASK] != 0;
  uint64_t* sp = reinterpret_cast<uint64_t*>(from.user ? cpu.kernel_sp : from.rsp & ~15ULL);
  *--sp = kUserSs;
  *--sp = from.rsp;
  *--sp = (from.rflags & ~kInterruptFlag) | (masked ? 0 : kInterruptFlag);
  *--sp = from.user ? kUserCs : kXenKernelCs;
  *--sp = from.rip;
  if (HasErrorCode(vector)) *--sp = error;
  *--sp = registers.r11;
  *--sp = registers.rcx;
  cpu.deliver_sp = reinterpret_cast<uint64_t>(sp);
  if (vector == kInjectEvent) {
    ++cpu.count_events;
    vcpu_info[VCPU_INFO_MASK] = 1;
    cpu.deliver_target = cpu.event_entry;
    return;
  }
  const Trap& trap = cpu.traps[vector % kVectors];
  if (trap.masks_events != 0) vcpu_info[VCPU_INFO_MASK] = 1;
  cpu.deliver_target = trap.handler;
}

constexpr uint64_t kBreakpoint = 3;
constexpr uint64_t kGeneralProtection = 13;

}  // namespace

extern "C" {

void MonitorHypercall(Cpu* cpu, SavedRegisters* registers) {
  const int64_t result = Dispatch(*cpu, registers->rax & 0xffffffff, registers->rdi, registers->rsi,
                                  registers->rdx, registers->r10, registers->r8);
  FlushIfDue(*cpu);
  registers->rax = static_cast<uint64_t>(result);
}

// From the user's view, through an int3 that is no system call: the VMM injects, or the int3 is the
// program's.
void MonitorEnter(Cpu* cpu, SavedRegisters* registers) {
  const uint64_t gate_end =
      (reinterpret_cast<uint64_t>(cpu) & ~0xffffULL) + BLOCK_ENTRY + USER_INJECT_GATE + 1;
  Injection& injection = cpu->injection;
  if (injection.armed != 0 && cpu->exception.rip == gate_end) {
    injection.armed = 0;
    Deliver(*cpu, *registers, {true, injection.rip, injection.rflags, cpu->exception.rsp}, injection.vector,
            injection.error);
    return;
  }
  Deliver(*cpu, *registers, {true, cpu->exception.rip, cpu->exception.rflags, cpu->exception.rsp},
          kBreakpoint, 0);
}

void MonitorBreak(Cpu* cpu, SavedRegisters* registers) {
  Deliver(*cpu, *registers, {false, cpu->exception.rip, cpu->exception.rflags, cpu->exception.rsp},
          kBreakpoint, 0);
}

void MonitorInject(Cpu* cpu, SavedRegisters* registers) {
  Injection& injection = cpu->injection;
  injection.armed = 0;
  Deliver(*cpu, *registers, {false, injection.rip, injection.rflags, cpu->deliver_sp}, injection.vector,
          injection.error);
}

// HYPERVISOR_iret to an address that no user can have: a #GP of the user's there.
void MonitorBadReturn(Cpu* cpu, SavedRegisters* registers) {
  const uint64_t* const frame = reinterpret_cast<const uint64_t*>(cpu->deliver_sp);
  registers->rax = frame[0];
  registers->r11 = frame[1];
  registers->rcx = frame[2];
  const Interrupted from = {true, frame[4], frame[6], frame[7]};
  reinterpret_cast<uint8_t*>(cpu->vcpu_info)[VCPU_INFO_MASK] = 0;
  Deliver(*cpu, *registers, from, kGeneralProtection, 0);
}

}  // extern "C"

}  // namespace hmvm::ring3
