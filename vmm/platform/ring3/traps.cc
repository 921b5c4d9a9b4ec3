#include "vmm/platform/ring3/traps.h"

#include <algorithm>
#include <string>
#include <utility>

#include "vmm/platform/ring3/start_state.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kTrapFlag = 0x100;
constexpr uint32_t kDebugException = 1;
constexpr uint32_t kInvalidOpcode = 6;
constexpr uint32_t kStackFault = 12;
constexpr uint32_t kGeneralProtection = 13;

// The rsp of a user at the inject gate, which needs none. The program's own may be an address that is not
// canonical: with such a one KVM makes a #UD of the gate's int3, whereupon the VMM would inject again, for
// ever.
constexpr uint64_t kGateStack = 0;
constexpr uint64_t kSyscallBytes = 2;

}  // namespace

Traps::Traps(const Vcpu* vcpu, const Window* window, const GuestMemory* memory, const Bus* ports,
             const EventChannels* events)
    : vcpu_(vcpu),
      window_(window),
      monitor_(&window->header(vcpu->index())),
      block_(Window::AddressOf(Window::BlockOffset(vcpu->index()))),
      events_(events),
      emulator_(vcpu, window, ports),
      access_(memory) {}

Result<Traps::Outcome> Traps::OnException(uint32_t vector) {
  const Cpu& cpu = this->cpu();
  // From CPL 3 the CPU pushes to the top of the exception stack; elsewhere means that a stub faulted.
  const uint64_t top = Window::Ring0AddressOf(Window::BlockOffset(vcpu_->index()) + kBlockExceptions) +
                       (HasErrorCode(vector) ? OTHER_ERROR : OTHER_RIP);
  if (vcpu_->run().s.regs.regs.rsp != top) {
    return Error{0, "exception " + std::to_string(vector) + " at CPL 0"};
  }
  InterruptFrame& frame = Pushed().other;
  const uint64_t rip = frame.rip;
  const bool user = cpu.user_mode != 0;
  if (!user && vector == kInvalidOpcode && rip == monitor_->call_vmm) {
    constexpr uint64_t kUd2Bytes = 2;
    frame.rip = rip + kUd2Bytes;
    return Outcome::kVmmCall;
  }
  const bool in_monitor = !user && Window::Contains(rip);
  if (in_monitor && (vector == kStackFault || vector == kGeneralProtection)) {
    // As a page fault would: a hypercall's pointer led nowhere.
    frame.rip = monitor_->fault_monitor;
    return Outcome::kAnswered;
  }
  if (in_monitor) {
    return Error{0, rip == monitor_->monitor_dead
                        ? "the guest kernel has no stack or no handler"
                        : "exception " + std::to_string(vector) + " in the monitor"};
  }
  if (!user && Emulate(vector)) {
    if (events_->Deliverable(vcpu_->index())) Redirect(kInjectEvent, 0);
    return Outcome::kEmulated;
  }
  if (vector == kDebugException && user && rip == monitor_->entry_start) {
    // A single-stepped system call: the step ends behind `syscall`, on the way into the kernel, which takes
    // the trap flag from r11.
    frame.rflags &= ~kTrapFlag;
    return Outcome::kAnswered;
  }
  // Without the flag it was an icebp.
  const bool stepped = vector == kDebugException && (frame.rflags & kTrapFlag) != 0;
  UserException exception = {vector, HasErrorCode(vector) ? Pushed().error : 0};
  if (user) exception = frame.cs == kUserCs ? AsOnACpu(exception) : InOtherCode();
  frame.rip += exception.advance;
  if (cpu.traps[exception.vector].handler == 0) {
    return Error{0, "exception " + std::to_string(exception.vector) + " without a handler"};
  }
  Redirect(exception.vector, exception.error);
  return stepped ? Outcome::kSingleStepped : Outcome::kInjected;
}

UserException Traps::AsOnACpu(UserException seen) {
  if (seen.vector != kInvalidOpcode) return seen;
  InterruptFrame& frame = Pushed().other;
  if (frame.rip == monitor_->entry_start) {
    // The gate's int3, with an rsp that is not canonical, after a `syscall` of the program's.
    const kvm_regs& regs = vcpu_->run().s.regs.regs;
    frame.rip = regs.rcx - kSyscallBytes;
    frame.rflags = (regs.r11 & USER_FLAGS) | ALWAYS_FLAGS;
    return kBadStack;
  }
  uint8_t code[2];
  const std::span bytes = std::as_writable_bytes(std::span(code));
  const bool both = access_.Read(cpu().user_root, frame.rip, bytes);
  if (!both && !access_.Read(cpu().user_root, frame.rip, bytes.first(1))) return seen;
  return SoftwareInterrupt(std::span(code).first(both ? 2 : 1)).value_or(seen);
}

// A program went to 32-bit code, by a selector that it finds in the host's descriptor table: it ends there,
// with a #GP that names the selector. The inject gate can't be executed in such code; then the injection
// knows where the program was.
UserException Traps::InOtherCode() {
  const Injection& injection = cpu().injection;
  InterruptFrame& frame = Pushed().other;
  if (frame.rip == InjectUser() && injection.armed != 0) {
    frame.rip = injection.rip;
    frame.rflags = injection.rflags;
    frame.rsp = injection.rsp;
  }
  return {kGeneralProtection, frame.cs & kSelectorInTable};
}

// KVM interprets a program whose rsp is not canonical when it has been interrupted so, its `syscall` too,
// which then arrives at LSTAR at CPL 0. There lies an int3, which KVM can't interpret.
Result<bool> Traps::OnInterpretedSyscall() {
  Cpu& cpu = this->cpu();
  HMVM_TRY_ASSIGN(kvm_regs regs, vcpu_->Regs());
  if (cpu.user_mode == 0 || regs.rip != monitor_->entry_start || cpu.injection.armed != 0) return false;
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu_->Sregs());
  SetSegments(&sregs);
  HMVM_TRY(vcpu_->SetSregs(sregs));
  Arm(kBadStack.vector, kBadStack.error,
      {.rip = regs.rcx - kSyscallBytes,
       .cs = kUserCs,
       .rflags = (regs.r11 & USER_FLAGS) | ALWAYS_FLAGS,
       .rsp = regs.rsp,
       .ss = kUserSs});
  regs.rip = InjectUser();
  regs.rsp = kGateStack;
  regs.rflags = ALWAYS_FLAGS;
  HMVM_TRY(vcpu_->SetRegs(regs));
  return true;
}

bool Traps::Emulate(uint32_t vector) {
  if (vector != kInvalidOpcode && vector != kGeneralProtection) return false;
  const Cpu& cpu = this->cpu();
  InterruptFrame& frame = Pushed().other;
  uint8_t code[kMaxInstructionBytes] = {};
  const uint64_t rip = frame.rip;
  // What lies in a page that is not mapped stays zero: no instruction that we know.
  const uint64_t in_page = std::min<uint64_t>(sizeof(code), kPageSize - rip % kPageSize);
  if (!access_.Read(cpu.kernel_root, rip, std::as_writable_bytes(std::span(code, in_page)))) return false;
  if (in_page < sizeof(code)) {
    static_cast<void>(access_.Read(cpu.kernel_root, rip + in_page,
                                   std::as_writable_bytes(std::span(code).subspan(in_page))));
  }
  kvm_regs& regs = vcpu_->run().s.regs.regs;
  const auto length = vector == kInvalidOpcode ? emulator_.InvalidOpcode(code, regs)
                                               : emulator_.GeneralProtection(code, regs);
  if (!length.has_value()) return false;
  vcpu_->run().kvm_dirty_regs = KVM_SYNC_X86_REGS;
  frame.rip = rip + *length;
  return true;
}

void Traps::Arm(uint64_t vector, uint64_t error, const InterruptFrame& interrupted) {
  cpu().injection = {.armed = 1,
                     .vector = vector,
                     .error = error,
                     .rip = interrupted.rip,
                     .rflags = interrupted.rflags,
                     .rsp = interrupted.rsp};
}

// The exit stub's iretq will lead to an inject gate, and on to the kernel's handler.
void Traps::Redirect(uint32_t vector, uint64_t error) {
  InterruptFrame& frame = Pushed().other;
  Arm(vector, error, frame);
  if (cpu().user_mode != 0) {
    frame = {.rip = InjectUser(), .cs = kUserCs, .rflags = frame.rflags, .rsp = kGateStack, .ss = kUserSs};
  } else {
    frame.rip = monitor_->inject_kernel;
  }
  frame.rflags &= ~kTrapFlag;
}

// Leads a vCPU that is outside the monitor to an inject gate. false: it is inside, or KVM has something else
// on its way.
bool Traps::Interrupt(uint32_t vector) {
  kvm_regs& regs = vcpu_->run().s.regs.regs;
  Cpu& cpu = this->cpu();
  // A program at the end of its system call is interrupted as anywhere else: the monitor knows the place.
  const uint64_t page = block_ + kBlockEntry;
  const bool continuing =
      cpu.user_mode != 0 && regs.rip >= page + USER_CONTINUE && regs.rip < page + USER_CONTINUE_END;
  if ((Window::Contains(regs.rip) && !continuing) || cpu.injection.armed != 0) return false;
  // An exception that KVM is about to deliver would be lost by setting registers, and KVM_GET_VCPU_EVENTS
  // does not tell of an int3. So the event waits until KVM says that nothing is on its way.
  if (vcpu_->run().ready_for_interrupt_injection == 0) {
    vcpu_->run().request_interrupt_window = 1;
    return false;
  }
  Arm(vector, 0, {.rip = regs.rip, .cs = kUserCs, .rflags = regs.rflags, .rsp = regs.rsp, .ss = kUserSs});
  if (cpu.user_mode != 0) {
    regs.rip = InjectUser();
    regs.rsp = kGateStack;
  } else {
    regs.rip = monitor_->inject_kernel;
  }
  regs.rflags &= ~kTrapFlag;
  vcpu_->run().kvm_dirty_regs = KVM_SYNC_X86_REGS;
  return true;
}

bool Traps::DeliverNmi() {
  if (cpu().traps[kNmi].handler == 0) return true;  // the guest does not want to know
  return cpu().nmi_masked == 0 && Interrupt(kNmi);
}

// A program may go to any address of the monitor's, and finds an int3 there or a fault. What tells it from
// the monitor at that place, which sets user_mode on its way back before it is there, is the root.
bool Traps::IsProgram() const {
  if (cpu().user_mode == 0) return false;
  const auto sregs = vcpu_->Sregs();
  constexpr uint16_t kCpl = 3;
  return sregs.has_value() && (sregs->cs.selector & kCpl) == kCpl && sregs->cr3 == cpu().user_root;
}

void Traps::DeliverEvent() {
  vcpu_->run().request_interrupt_window = 0;
  if (!events_->Deliverable(vcpu_->index())) return;
  kvm_regs& regs = vcpu_->run().s.regs.regs;
  Cpu& cpu = this->cpu();
  const auto in = [&regs](uint64_t start, uint64_t end) { return regs.rip >= start && regs.rip < end; };
  if (Window::Contains(regs.rip) && IsProgram()) {
    Interrupt(kInjectEvent);
    return;
  }
  for (const auto& [start, end] :
       {std::pair(monitor_->hypercall_return, monitor_->hypercall_return_end),
        std::pair(monitor_->kernel_return, monitor_->kernel_return_end),
        std::pair(monitor_->user_return, monitor_->user_return_committed),
        std::pair(monitor_->user_return_full, monitor_->user_return_full_committed)}) {
    if (!in(start, end)) continue;
    regs.rip = start;
    vcpu_->run().kvm_dirty_regs = KVM_SYNC_X86_REGS;
    return;
  }
  const bool full = in(monitor_->user_return_full_committed, monitor_->user_return_full_end) ||
                    in(monitor_->stub_return_full, monitor_->stub_return_full_end);
  if (full || in(monitor_->user_return_committed, monitor_->user_return_end) ||
      in(monitor_->stub_return, monitor_->stub_return_end)) {
    if (cpu.injection.armed != 0) return;
    Exceptions& of_user = window_->exceptions(vcpu_->index(), true);
    InterruptFrame& frame = full ? of_user.full : of_user.gate;
    Arm(kInjectEvent, 0, frame);
    frame.rip = InjectUser();
    frame.rsp = kGateStack;
    frame.rflags &= ~kTrapFlag;
    return;
  }
  Interrupt(kInjectEvent);
}

}  // namespace hmvm::ring3
