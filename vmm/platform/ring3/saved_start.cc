#include "vmm/platform/ring3/saved_start.h"

#include "vmm/kvm/vcpu_state.h"

namespace hmvm::ring3 {

snapshot::Ring3Start SaveStart(const StartState& state) {
  snapshot::Ring3Start saved;
  saved.set_root(state.root);
  saved.set_user_root(state.user_root);
  saved.set_registers(PackBytes(state.registers));
  saved.set_kernel_sp(state.kernel_sp);
  saved.set_fs_base(state.fs_base);
  saved.set_kernel_gs(state.kernel_gs);
  saved.set_user_gs(state.user_gs);
  saved.set_event_entry(state.event_entry);
  saved.set_syscall_entry(state.syscall_entry);
  saved.set_page_fault_entry(state.page_fault_entry);
  saved.set_traps(PackBytes(state.traps));
  return saved;
}

Result<StartState> RestoreStart(const snapshot::Ring3Start& saved) {
  StartState state;
  state.root = saved.root();
  state.user_root = saved.user_root();
  HMVM_TRY_ASSIGN(state.registers, UnpackBytes<kvm_regs>(saved.registers(), "registers to start with"));
  state.registers.rflags = (state.registers.rflags & USER_FLAGS) | ALWAYS_FLAGS;
  state.kernel_sp = saved.kernel_sp();
  state.fs_base = saved.fs_base();
  state.kernel_gs = saved.kernel_gs();
  state.user_gs = saved.user_gs();
  state.event_entry = saved.event_entry();
  state.syscall_entry = saved.syscall_entry();
  state.page_fault_entry = saved.page_fault_entry();
  HMVM_TRY_ASSIGN(state.traps, UnpackBytes<decltype(state.traps)>(saved.traps(), "trap table"));
  return state;
}

}  // namespace hmvm::ring3
