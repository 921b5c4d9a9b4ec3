// One vCPU and the thread that runs it: turns of KVM_RUN, their exits, and waiting.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "vmm/kvm/kick_timer.h"
#include "vmm/kvm/kvm.h"
#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/clock.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/hypercalls.h"
#include "vmm/platform/ring3/timer.h"
#include "vmm/platform/ring3/traps.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm::ring3 {

// Belongs to the vCPU's thread but for Wake(), Interrupt() and counters().
class VcpuRunner {
 public:
  // All outlive it. `shared.vcpus` has this vCPU's place at vcpu->index().
  VcpuRunner(const PlatformContext& context, const Hypercalls::Parts& shared, Vcpu* vcpu);

  Result<VcpuTurn> RunOnce();
  // See Platform::Settle().
  Result<VcpuTurn> Settle();

  // While no thread runs the vCPU. Restore() comes before the first RunOnce(), which then begins with a look
  // at what is pending.
  Result<> Save(snapshot::VcpuState& vcpu, snapshot::Ring3Vcpu& state) const;
  Result<> Restore(const snapshot::VcpuState& vcpu, const snapshot::Ring3Vcpu& state);

  // For hypercalls (vcpu_threads.h).
  void WaitForEvent();
  void WaitForPort(std::span<const uint32_t> ports, uint64_t deadline_ns);
  VcpuTimer& timer() { return timer_; }

  // Makes the vCPU look at what has become pending.
  void Wake() const;
  // Has it leave KVM_RUN before it executes more of the guest than it can until a signal arrives.
  void Interrupt() const { vcpu_->Kick(); }

  struct Counters {
    std::atomic<uint64_t> hypercall{0};
    std::atomic<uint64_t> emulation{0};
    std::atomic<uint64_t> exception{0};
    std::atomic<uint64_t> mmio{0};
    std::atomic<uint64_t> interrupted{0};
    std::atomic<uint64_t> idle{0};
    std::atomic<uint64_t> flushed{0};
  };
  const Counters& counters() const { return counters_; }

 private:
  Result<> ReturnForNmi();
  Result<bool> EnterGuest();
  Result<> FlushTranslations();
  Result<VcpuTurn> OnIo();
  VcpuTurn OnMmio();
  VcpuTurn OnVmmCall();
  VcpuTurn Fail(const std::string& reason) const;

  // Sleeps until done() or a kick, and counts the time as `why`.
  template <typename Done>
  void Wait(RunstateKind why, uint64_t deadline_ns, Done done);
  void EnterRunstate(RunstateKind state);
  // After KVM_RUN.
  void Deliver();

  uint32_t index() const { return vcpu_->index(); }
  Cpu& cpu() const { return shared_.window->cpu(index()); }
  SharedVcpu& self() const { return shared_.vcpus[index()]; }

  PlatformContext context_;
  Hypercalls::Parts shared_;
  Vcpu* vcpu_;
  VcpuTimer timer_;
  KickTimer nmi_timer_;  // to try again with an NMI; started with the first
  Hypercalls hypercalls_;
  Traps traps_;
  GuestAccess access_;
  std::atomic<bool> waiting_{false};
  Counters counters_;
};

}  // namespace hmvm::ring3
