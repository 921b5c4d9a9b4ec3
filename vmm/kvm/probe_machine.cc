#include "vmm/kvm/probe_machine.h"

#include <cstring>

namespace hmvm {
namespace {

constexpr uint64_t kPresent = 1;
constexpr uint64_t kWritable = 2;
constexpr uint64_t kUser = 4;
constexpr uint64_t kLarge = 0x80;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kTable = kPresent | kWritable | kUser;
constexpr uint64_t kPage = 4096;

// Page tables beside those that probe_layout.h names. The level-1 table of the first view is a page of the
// probe's own.
constexpr uint64_t kLevel3A = 0x3000;
constexpr uint64_t kLevel2A = 0x4000;
constexpr uint64_t kLevel3B = 0x6000;
constexpr uint64_t kLevel2B = 0x7000;
constexpr uint64_t kLevel1B = 0x8000;
constexpr uint64_t kIdtB = 0x9000;
// One page of code and data, at index 0 of tables that several places share.
constexpr uint64_t kCode = 0xa000;
constexpr uint64_t kCodeLevel1 = 0xb000;
constexpr uint64_t kCodeLevel2 = 0xc000;
constexpr uint64_t kCodeLevel3 = 0xd000;

constexpr uint64_t kTss = PROBE_GDT + 0x800;  // an offset, as those of probe_layout.h
constexpr uint64_t kBreakpoint = 3;
constexpr uint64_t kVectors = 32;
constexpr uint64_t kFlags = 0x202;  // IF, and the bit that is always set

constexpr uint16_t kKernelCode = 0x10;
constexpr uint16_t kKernelData = 0x18;
constexpr uint16_t kUserData = 0x2b;
constexpr uint16_t kTaskState = 0x40;

constexpr uint64_t SlotOf(uint64_t address, int level) { return address >> (3 + 9 * level) & 0x1ff; }

// A segment over all of the address space, as 64-bit mode wants it.
kvm_segment FlatSegment(uint16_t selector, uint8_t type, uint8_t privilege) {
  constexpr uint8_t kCodeSegment = 8;  // bit of the type
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = segment.s = segment.g = 1;
  segment.dpl = privilege;
  segment.l = (type & kCodeSegment) != 0;
  segment.db = (type & kCodeSegment) == 0;
  return segment;
}

}  // namespace

Result<ProbeMachine> ProbeMachine::Create() {
  HMVM_TRY_ASSIGN(Mapping memory, Mapping::Anonymous(kBytes));
  ProbeMachine machine(std::move(memory));
  const auto code_bytes = static_cast<size_t>(hmvm_probe_end - hmvm_probe_start);
  std::memcpy(machine.At(PROBE_FRAMES), hmvm_probe_start, code_bytes);
  machine.BuildTables();
  machine.BuildDescriptors();

  constexpr uint8_t kJumpToRsi[] = {0xff, 0xe6};
  std::memcpy(machine.At(kCode), kJumpToRsi, sizeof(kJumpToRsi));
  *machine.At(kCode + PROBE_CODE_VALUE_AT) = std::byte{PROBE_CODE_VALUE};
  std::memcpy(machine.At(PROBE_FRAMES + PROBE_SUPERVISOR), kJumpToRsi, sizeof(kJumpToRsi));
  std::memcpy(machine.At(PROBE_TARGET_FIRST), &kTargetFirst, sizeof(kTargetFirst));
  std::memcpy(machine.At(PROBE_TARGET_SECOND), &kTargetSecond, sizeof(kTargetSecond));

  ProbeResults& results = machine.results();
  results.gate_frame.cs = kUserCode;
  results.gate_frame.rflags = kFlags;
  results.gate_frame.ss = kUserData;
  // Where the first view has what int3 pushes.
  const uint64_t frame[] = {AddressOf(hmvm_probe_framed), kUserCode, kFlags, PROBE_BASE + PROBE_STACK + kPage,
                            kUserData};
  std::memcpy(machine.At(PROBE_LARGE_SECOND + PROBE_FRAME + kPage - sizeof(frame)), frame, sizeof(frame));
  for (uint64_t i = 0; i < std::size(results.avx_pattern); ++i) {
    results.avx_pattern[i] = 0x0123456789abcdef + i;
  }
  return machine;
}

void ProbeMachine::BuildTables() const {
  constexpr uint64_t kLevel1A = PROBE_FRAMES + PROBE_TABLE;
  struct View {
    uint64_t root, level3, level2, level1, large;
  };
  for (const View& view : {View{PROBE_ROOT_A, kLevel3A, kLevel2A, kLevel1A, 0},
                           View{PROBE_ROOT_B, kLevel3B, kLevel2B, kLevel1B, PROBE_LARGE_SECOND}}) {
    Entry(view.root, SlotOf(PROBE_BASE, 4)) = view.level3 | kTable;
    Entry(view.level3, 0) = view.level2 | kTable;
    Entry(view.level2, 0) = view.level1 | kTable;
    Entry(view.level2, SlotOf(PROBE_LARGE, 2)) = view.large | kPresent | kWritable | kLarge;
    const auto map = [&](uint64_t page, uint64_t flags) {
      Entry(view.level1, page / kPage) = (PROBE_FRAMES + page) | flags;
    };
    for (const uint64_t page : {PROBE_STUBS, PROBE_IDT, PROBE_GDT, PROBE_RING0_STACK, PROBE_SUPERVISOR}) {
      map(page, kPresent | kWritable);
    }
    map(PROBE_PROGRAM, kPresent | kUser);
    map(PROBE_PROGRAM + kPage, kPresent | kUser);
    map(PROBE_READ_ONLY, kPresent | kUser);
    for (const uint64_t page : {PROBE_RESULTS, PROBE_STACK, PROBE_TABLE, PROBE_TARGET}) map(page, kTable);
    Entry(view.level1, PROBE_NO_EXECUTE / kPage) = kCode | kTable | kNoExecute;
    Entry(view.level1, PROBE_MMIO / kPage) = kMmioAddress | kTable;
  }
  Entry(kLevel1B, PROBE_IDT / kPage) = kIdtB | kPresent | kWritable;
  Entry(kLevel1B, PROBE_TARGET / kPage) = PROBE_TARGET_SECOND | kTable;

  Entry(kCodeLevel1, 0) = kCode | kTable;
  Entry(kCodeLevel2, 0) = kCodeLevel1 | kTable;
  Entry(kCodeLevel3, 0) = kCodeLevel2 | kTable;
  for (const uint64_t high : {PROBE_HIGH_DIRECT_MAP, PROBE_HIGH_KERNEL_MAP, PROBE_HIGH_KERNEL_IMAGE}) {
    Entry(PROBE_ROOT_A, SlotOf(high, 4)) = kCodeLevel3 | kTable;
  }
  Entry(kLevel2A, SlotOf(PROBE_NO_EXECUTE_LEVEL2, 2)) = kCodeLevel1 | kTable | kNoExecute;
  Entry(kLevel3A, SlotOf(PROBE_NO_EXECUTE_LEVEL3, 3)) = kCodeLevel2 | kTable | kNoExecute;
  Entry(PROBE_ROOT_A, SlotOf(PROBE_NO_EXECUTE_LEVEL4, 4)) = kCodeLevel3 | kTable | kNoExecute;
}

void ProbeMachine::BuildDescriptors() const {
  constexpr uint64_t kGdt[] = {0,
                               0,
                               0x00af9b000000ffff,   // 0x10: ring-0 code
                               0x00cf93000000ffff,   // 0x18: ring-0 data
                               0x00cffb000000ffff,   // 0x23: ring-3 code, 32 bits
                               0x00cff3000000ffff,   // 0x2b: ring-3 data
                               0x00affb000000ffff};  // 0x33: ring-3 code
  std::memcpy(At(PROBE_FRAMES + PROBE_GDT), kGdt, sizeof(kGdt));
  // 64-bit TSS: the stack of ring 0, the first interrupt stack, and no I/O bitmap.
  constexpr uint64_t kStackTop = PROBE_BASE + PROBE_RING0_STACK + kPage;
  constexpr uint64_t kBreakpointStackTop = PROBE_BASE + PROBE_LARGE + PROBE_FRAME + kPage;
  constexpr uint16_t kNoBitmap = 0xffff;
  std::memcpy(At(PROBE_FRAMES + kTss + 4), &kStackTop, sizeof(kStackTop));
  std::memcpy(At(PROBE_FRAMES + kTss + 36), &kBreakpointStackTop, sizeof(kBreakpointStackTop));
  std::memcpy(At(PROBE_FRAMES + kTss + 102), &kNoBitmap, sizeof(kNoBitmap));

  for (const auto& [idt, gate] : {std::pair(PROBE_FRAMES + uint64_t{PROBE_IDT}, hmvm_probe_gate_a),
                                  std::pair(kIdtB, hmvm_probe_gate_b)}) {
    for (uint64_t vector = 0; vector < kVectors; ++vector) {
      const bool breakpoint = vector == kBreakpoint;
      const uint64_t handler = AddressOf(breakpoint ? gate : hmvm_probe_vectors + vector * 16);
      const uint64_t type = 0x8e | (breakpoint ? 3 << 5 : 0);  // interrupt gate, for ring 3 or not
      const uint64_t stack = breakpoint ? 1 : 0;               // of the interrupt stack table
      Entry(idt, vector * 2) = (handler & 0xffff) | uint64_t{kKernelCode} << 16 | stack << 32 | type << 40 |
                               (handler >> 16 & 0xffff) << 48;
      Entry(idt, vector * 2 + 1) = handler >> 32;
    }
  }
}

uint64_t& ProbeMachine::LargeEntry() const { return Entry(kLevel2A, SlotOf(PROBE_LARGE, 2)); }

Result<> ProbeMachine::SetState(Vcpu& vcpu, bool ring3) const {
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu.Sregs());
  const uint8_t privilege = ring3 ? 3 : 0;
  sregs.cs = FlatSegment(ring3 ? kUserCode : kKernelCode, 11, privilege);
  sregs.ss = FlatSegment(ring3 ? kUserData : kKernelData, 3, privilege);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
  sregs.tr = {};
  sregs.tr.base = PROBE_BASE + kTss;
  sregs.tr.limit = 0x67;
  sregs.tr.selector = kTaskState;
  sregs.tr.type = 11;
  sregs.tr.present = 1;
  sregs.gdt.base = PROBE_BASE + PROBE_GDT;
  sregs.gdt.limit = 7 * 8 - 1;
  sregs.idt.base = PROBE_BASE + PROBE_IDT;
  sregs.idt.limit = kVectors * 16 - 1;
  sregs.cr0 = 0x80050033;  // PG AM WP NE ET MP PE
  sregs.cr3 = PROBE_ROOT_A;
  sregs.cr4 = ring3 ? 0x40620 : 0x620;  // OSXMMEXCPT OSFXSR PAE, and OSXSAVE
  sregs.efer = 0xd01;                   // NXE LMA LME SCE
  HMVM_TRY(vcpu.SetSregs(sregs));
  kvm_regs regs = {};
  regs.rip = AddressOf(ring3 ? hmvm_probe_ring3 : hmvm_probe_loop);
  regs.rsp = PROBE_BASE + (ring3 ? PROBE_STACK : PROBE_RING0_STACK) + kPage;
  regs.rflags = kFlags;
  HMVM_TRY(vcpu.SetRegs(regs));
  const kvm_msr_entry msrs[] = {
      {.index = 0xc0000081, .reserved = 0, .data = uint64_t{0x23} << 48 | uint64_t{kKernelCode} << 32},
      {.index = 0xc0000082, .reserved = 0, .data = AddressOf(hmvm_probe_lstar)},
      {.index = 0xc0000084, .reserved = 0, .data = PROBE_SYSCALL_MASK},
  };
  return vcpu.SetMsrs(msrs);
}

}  // namespace hmvm
