// What the VMM does about one vCPU's exceptions and events: emulate, or have the monitor build Xen's frame
// for the guest's handler. It changes where the vCPU goes on, never the guest's stack (docs/ring3.md,
// "Interrupt").
#pragma once

#include <cstdint>

#include "base/result.h"
#include "vmm/devices/bus.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/ring3/emulate.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/guest_access.h"
#include "vmm/platform/ring3/user_exceptions.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm::ring3 {

// Belongs to the vCPU's thread.
class Traps {
 public:
  Traps(const Vcpu* vcpu, const Window* window, const GuestMemory* memory, const Bus* ports,
        const EventChannels* events);

  enum class Outcome { kEmulated, kInjected, kAnswered, kVmmCall, kSingleStepped };
  // A stub exited for the exception `vector`. An error says why the guest can't go on.
  Result<Outcome> OnException(uint32_t vector);

  // KVM gave up on an instruction. true: it was a program's `syscall`, which has been put right.
  Result<bool> OnInterpretedSyscall();

  // KVM_RUN ended without an exit, or as DeliverEvent() has asked it to (KVM_EXIT_IRQ_WINDOW_OPEN): has a
  // pending event delivered, if the guest takes it now. Where the vCPU is in the monitor, the monitor either
  // looks for events later on its way or is brought to look again.
  void DeliverEvent();

  // Has an NMI delivered, whatever the event mask says. false: the vCPU is at a place, or in the handler of
  // another NMI, where it can't be, and is to be tried again soon.
  bool DeliverNmi();

 private:
  bool Emulate(uint32_t vector);
  UserException AsOnACpu(UserException seen);
  UserException InOtherCode();
  void Redirect(uint32_t vector, uint64_t error);
  bool Interrupt(uint32_t vector);
  bool IsProgram() const;
  void Arm(uint64_t vector, uint64_t error, const InterruptFrame& interrupted);

  uint64_t InjectUser() const { return block_ + kBlockEntry + USER_INJECT_GATE; }
  Cpu& cpu() const { return window_->cpu(vcpu_->index()); }
  // Where the CPU pushed an exception that a stub exits for.
  Exceptions& Pushed() const { return window_->exceptions(vcpu_->index(), cpu().user_mode != 0); }

  const Vcpu* vcpu_;
  const Window* window_;
  const MonitorHeader* monitor_;
  uint64_t block_;  // address in the guest
  const EventChannels* events_;
  Emulator emulator_;
  GuestAccess access_;
};

}  // namespace hmvm::ring3
