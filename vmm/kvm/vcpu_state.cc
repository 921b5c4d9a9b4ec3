#include "vmm/kvm/vcpu_state.h"

#include <algorithm>
#include <vector>

namespace hmvm {
namespace {

constexpr uint32_t kMsrTsc = 0x10;
constexpr uint32_t kMsrTscDeadline = 0x6e0;

template <typename T>
Result<std::string> Get(const Vcpu& vcpu, unsigned long request, const char* name) {
  T value = {};
  HMVM_TRY(vcpu.Ioctl(request, &value, name));
  return PackBytes(value);
}

template <typename T>
Result<> Set(const Vcpu& vcpu, unsigned long request, const std::string& bytes, const char* name) {
  HMVM_TRY_ASSIGN(T value, UnpackBytes<T>(bytes, name));
  HMVM_TRY(vcpu.Ioctl(request, &value, name));
  return {};
}

// The deadline counts in TSC ticks, so it comes when the TSC is right: KVM starts the timer with it.
int Turn(const snapshot::Msr& msr) {
  return msr.index() == kMsrTsc ? 0 : msr.index() == kMsrTscDeadline ? 2 : 1;
}

Result<> RestoreMsrs(const Vcpu& vcpu, const snapshot::VcpuState& state) {
  std::vector<snapshot::Msr> msrs(state.msrs().begin(), state.msrs().end());
  std::ranges::stable_sort(msrs, {}, Turn);
  std::vector<kvm_msr_entry> entries;
  for (const snapshot::Msr& msr : msrs) {
    entries.push_back({.index = msr.index(), .reserved = 0, .data = msr.value()});
  }
  return entries.empty() ? Result<>() : vcpu.SetMsrs(entries);
}

}  // namespace

Result<snapshot::VcpuState> SaveVcpu(const Vcpu& vcpu, std::span<const uint32_t> msrs, bool has_apic) {
  snapshot::VcpuState state;
  // What the thread changed and KVM has not heard of yet counts.
  const kvm_run& run = vcpu.run();
  if ((run.kvm_dirty_regs & KVM_SYNC_X86_REGS) != 0) {
    state.set_regs(PackBytes(run.s.regs.regs));
  } else {
    HMVM_TRY_ASSIGN(const kvm_regs regs, vcpu.Regs());
    state.set_regs(PackBytes(regs));
  }
  if (auto sregs2 = Get<kvm_sregs2>(vcpu, KVM_GET_SREGS2, "KVM_GET_SREGS2"); sregs2.has_value()) {
    state.set_sregs2(std::move(*sregs2));
  } else {  // KVMs before 5.14
    HMVM_TRY_ASSIGN(*state.mutable_sregs(), Get<kvm_sregs>(vcpu, KVM_GET_SREGS, "KVM_GET_SREGS"));
  }
  HMVM_TRY_ASSIGN(*state.mutable_xcrs(), Get<kvm_xcrs>(vcpu, KVM_GET_XCRS, "KVM_GET_XCRS"));
  HMVM_TRY_ASSIGN(const std::vector<std::byte> xsave, vcpu.Xsave());
  // SAFETY: any object may be read as chars.
  state.set_xsave(reinterpret_cast<const char*>(xsave.data()), xsave.size());
  HMVM_TRY_ASSIGN(*state.mutable_debugregs(),
                  Get<kvm_debugregs>(vcpu, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS"));
  if (has_apic) {
    // First: KVM takes pending INIT and SIPI into account here.
    kvm_mp_state mp_state = {};
    HMVM_TRY(vcpu.Ioctl(KVM_GET_MP_STATE, &mp_state, "KVM_GET_MP_STATE"));
    state.set_mp_state(mp_state.mp_state);
    HMVM_TRY_ASSIGN(*state.mutable_lapic(), Get<kvm_lapic_state>(vcpu, KVM_GET_LAPIC, "KVM_GET_LAPIC"));
  }
  HMVM_TRY_ASSIGN(const std::vector<kvm_msr_entry> entries, vcpu.Msrs(msrs));
  for (const kvm_msr_entry& entry : entries) {
    snapshot::Msr* const msr = state.add_msrs();
    msr->set_index(entry.index);
    msr->set_value(entry.data);
  }
  HMVM_TRY_ASSIGN(const kvm_vcpu_events events, vcpu.Events());
  state.set_events(PackBytes(events));
  return state;
}

// Each before what leans on it: the segments and control registers, among them the APIC's base, before the
// APIC; the APIC's mode before its timer's MSR; everything before the events that are to be delivered into
// it.
Result<> RestoreVcpu(const Vcpu& vcpu, const snapshot::VcpuState& state, bool has_apic) {
  if (has_apic) {
    kvm_mp_state mp_state = {.mp_state = state.mp_state()};
    HMVM_TRY(vcpu.Ioctl(KVM_SET_MP_STATE, &mp_state, "KVM_SET_MP_STATE"));
  }
  HMVM_TRY_ASSIGN(const kvm_regs regs, UnpackBytes<kvm_regs>(state.regs(), "registers"));
  HMVM_TRY(vcpu.SetRegs(regs));
  if (!state.sregs2().empty()) {
    HMVM_TRY(Set<kvm_sregs2>(vcpu, KVM_SET_SREGS2, state.sregs2(), "KVM_SET_SREGS2"));
  } else {
    HMVM_TRY(Set<kvm_sregs>(vcpu, KVM_SET_SREGS, state.sregs(), "KVM_SET_SREGS"));
  }
  HMVM_TRY(Set<kvm_xcrs>(vcpu, KVM_SET_XCRS, state.xcrs(), "KVM_SET_XCRS"));
  HMVM_TRY(vcpu.SetXsave(std::as_bytes(std::span(state.xsave()))));
  HMVM_TRY(Set<kvm_debugregs>(vcpu, KVM_SET_DEBUGREGS, state.debugregs(), "KVM_SET_DEBUGREGS"));
  if (has_apic) HMVM_TRY(Set<kvm_lapic_state>(vcpu, KVM_SET_LAPIC, state.lapic(), "KVM_SET_LAPIC"));
  HMVM_TRY(RestoreMsrs(vcpu, state));
  HMVM_TRY_ASSIGN(const kvm_vcpu_events events, UnpackBytes<kvm_vcpu_events>(state.events(), "events"));
  return vcpu.SetEvents(events);
}

}  // namespace hmvm
