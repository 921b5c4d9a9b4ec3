#include "vmm/platform/ring3/start_state.h"

#include <algorithm>

#include "vmm/platform/ring3/cpuid.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kContextHasFpu = 1;  // VGCF_I387_VALID

bool IsCanonical(uint64_t address) {
  return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address;
}

// The VMM does not write page tables, so the monitor's slots have to be there: as they are in a root that the
// guest has loaded before.
bool HasMonitor(uint64_t root, const GuestMemory& memory, const Window& window) {
  if (root % kPageSize != 0) return false;
  const auto slot = [&](uint64_t index) {
    return memory.Read<uint64_t>(GuestAddress{root + index * sizeof(uint64_t)});
  };
  const auto monitor = slot(kMonitorSlot);
  const auto direct_map = slot(kDirectMapSlot);
  // The CPU may have set the accessed bit.
  const auto same = [](uint64_t a, uint64_t b) { return ((a ^ b) & ~kEntryAccessedDirty) == 0; };
  return monitor.has_value() && direct_map.has_value() && same(*monitor, window.kernel_view()) &&
         same(*direct_map, window.kernel_direct_map());
}

kvm_segment UserSegment(uint16_t selector, bool code) {
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = code ? 11 : 3;
  segment.present = 1;
  segment.dpl = 3;
  segment.s = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  segment.g = 1;
  return segment;
}

void FillCpu(const StartState& state, Cpu* cpu) {
  cpu->kernel_root = state.root;
  cpu->user_root = state.user_root;
  cpu->kernel_sp = state.kernel_sp;
  cpu->kernel_gs = state.kernel_gs;
  cpu->user_gs = state.user_gs;
  // An entry that is not named stays one that ends with a report.
  if (state.event_entry != 0) cpu->event_entry = state.event_entry;
  if (state.syscall_entry != 0) cpu->syscall_entry = state.syscall_entry;
  if (state.page_fault_entry != 0) cpu->page_fault_entry = state.page_fault_entry;
  std::ranges::copy(state.traps, cpu->traps);
}

}  // namespace

bool CanStart(const StartState& state, const GuestMemory& memory, const Window& window) {
  const uint64_t addresses[] = {state.registers.rip, state.registers.rsp, state.kernel_sp, state.event_entry,
                                state.syscall_entry, state.fs_base,       state.kernel_gs, state.user_gs};
  if (!std::ranges::all_of(addresses, IsCanonical)) return false;
  return HasMonitor(state.root, memory, window);
}

Result<> SetConstantMsrs(const Vcpu& vcpu, const Window& window) {
  constexpr uint32_t kMsrStar = 0xc0000081;
  constexpr uint32_t kMsrLstar = 0xc0000082;
  constexpr uint32_t kMsrSyscallMask = 0xc0000084;
  // TF, DF, NT and AC are cleared on entry. Not IF: with it in the mask this KVM takes a slower path.
  const kvm_msr_entry msrs[] = {
      {.index = kMsrStar, .reserved = 0, .data = (uint64_t{0x23} << 48) | (uint64_t{0x10} << 32)},
      {.index = kMsrLstar, .reserved = 0, .data = window.header(vcpu.index()).entry_start},
      {.index = kMsrSyscallMask, .reserved = 0, .data = 0x44500},
  };
  return vcpu.SetMsrs(msrs);
}

std::optional<StartState> StartStateOf(const VcpuContext& context, const GuestMemory& memory,
                                       const Window& window) {
  const GuestRegisters& from = context.registers;
  if ((context.flags & kContextHasFpu) != 0) return std::nullopt;
  StartState state;
  state.root = context.control[3];
  state.registers = {.rax = from.rax,
                     .rbx = from.rbx,
                     .rcx = from.rcx,
                     .rdx = from.rdx,
                     .rsi = from.rsi,
                     .rdi = from.rdi,
                     .rsp = from.rsp,
                     .rbp = from.rbp,
                     .r8 = from.r8,
                     .r9 = from.r9,
                     .r10 = from.r10,
                     .r11 = from.r11,
                     .r12 = from.r12,
                     .r13 = from.r13,
                     .r14 = from.r14,
                     .r15 = from.r15,
                     .rip = from.rip,
                     .rflags = (from.rflags & USER_FLAGS) | ALWAYS_FLAGS};
  state.kernel_sp = context.kernel_sp;
  state.fs_base = context.fs_base;
  state.kernel_gs = context.gs_base_kernel;
  state.user_gs = context.gs_base_user;
  state.event_entry = context.event_callback;
  state.syscall_entry = context.syscall_callback;
  // Here the place in the table is the vector.
  constexpr uint32_t kPageFault = 14;
  for (uint32_t vector = 0; vector < kVectors; ++vector) {
    const TrapInfo& trap = context.traps[vector];
    state.traps[vector] = {trap.address, uint64_t{trap.flags} & kTrapMasksEvents};
  }
  state.page_fault_entry = state.traps[kPageFault].handler;
  if (!CanStart(state, memory, window)) return std::nullopt;
  return state;
}

void SetSegments(kvm_sregs* sregs) {
  sregs->cs = UserSegment(kUserCs, true);
  sregs->ss = UserSegment(kUserSs, false);
}

Result<> Start(const Vcpu& vcpu, const Window& window, const StartState& state) {
  FillCpu(state, &window.cpu(vcpu.index()));

  const uint64_t ring0 = Window::Ring0AddressOf(Window::BlockOffset(vcpu.index()));
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu.Sregs());
  sregs.cr0 = 0x80050033;  // as the emulator tells the guest
  sregs.cr4 = 0x40620;
  sregs.efer = kEfer;
  sregs.cr3 = state.root;
  sregs.gdt.base = ring0 + kBlockGdt;
  sregs.gdt.limit = 7 * 8 - 1;
  sregs.idt.base = ring0 + kBlockIdt;
  sregs.idt.limit = kVectors * 16 - 1;
  kvm_segment task = {};
  task.base = ring0 + kBlockGdt + kTssInGdtPage;
  task.limit = 0x67;
  task.selector = 0x40;
  task.type = 11;
  task.present = 1;
  sregs.tr = task;
  // None: a program that names an entry of it gets a #GP.
  sregs.ldt = {};
  sregs.ldt.unusable = 1;
  SetSegments(&sregs);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = UserSegment(kUserSs, false);
  sregs.fs.base = state.fs_base;
  sregs.gs.base = state.kernel_gs;
  HMVM_TRY(vcpu.SetSregs(sregs));
  HMVM_TRY(vcpu.SetXcr0(HostXcr0()));
  HMVM_TRY(SetConstantMsrs(vcpu, window));
  HMVM_TRY(vcpu.SetRegs(state.registers));
  vcpu.run().kvm_valid_regs = KVM_SYNC_X86_REGS;
  return {};
}

}  // namespace hmvm::ring3
