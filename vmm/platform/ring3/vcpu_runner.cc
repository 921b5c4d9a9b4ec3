#include "vmm/platform/ring3/vcpu_runner.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "vmm/kvm/describe.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/platform/ring3/saved_start.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

VcpuTurn Turn(VcpuTurn::Kind kind) {
  VcpuTurn turn;
  turn.kind = kind;
  return turn;
}
VcpuTurn Ended(MachineEnd end, std::string report) {
  VcpuTurn turn = Turn(VcpuTurn::Kind::kEnded);
  turn.end = end;
  turn.report = std::move(report);
  return turn;
}

uint64_t ThreadProcessorNs() {
  timespec time;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace

VcpuRunner::VcpuRunner(const PlatformContext& context, const Hypercalls::Parts& shared, Vcpu* vcpu)
    : context_(context),
      shared_(shared),
      vcpu_(vcpu),
      timer_(shared.clock),
      hypercalls_(shared, vcpu->index()),
      traps_(vcpu, shared.window, context.memory, context.ports, shared.events),
      access_(context.memory) {}

VcpuTurn VcpuRunner::Fail(const std::string& reason) const {
  const Cpu& cpu = this->cpu();
  const Exceptions& pushed = shared_.window->exceptions(index(), cpu.user_mode != 0);
  char state[288];
  std::snprintf(state, sizeof(state),
                "\nmonitor of vCPU %" PRIu32 ": user_mode=%" PRIu64 " kernel_root=0x%" PRIx64
                " user_root=0x%" PRIx64 " exception rip=0x%" PRIx64 " rsp=0x%" PRIx64 " error=0x%" PRIx64
                " fault_address=0x%" PRIx64,
                index(), cpu.user_mode, cpu.kernel_root, cpu.user_root, pushed.other.rip, pushed.other.rsp,
                pushed.error, cpu.fault_address);
  return Ended(MachineEnd::kKvmError,
               "ring3: " + reason + state + "\n" + DescribeVcpu(*vcpu_, *context_.memory));
}

Result<VcpuTurn> VcpuRunner::RunOnce() {
  if (!timer_.started()) HMVM_TRY(timer_.Start(*vcpu_));
  if (!self().power.up()) {
    Wait(kOffline, 0, [this] { return self().power.up(); });
    if (!self().power.up()) {
      vcpu_->kick_flag().Take();
      return Turn(VcpuTurn::Kind::kInterrupted);
    }
  }
  if (const auto start = self().power.TakeStart()) {
    HMVM_TRY(Start(*vcpu_, *shared_.window, *start));
    EnterRunstate(kRunning);
  }
  if (self().nmi_pending) HMVM_TRY(ReturnForNmi());
  HMVM_TRY_ASSIGN(const bool exited, EnterGuest());
  if (!exited) {
    counters_.interrupted.fetch_add(1, std::memory_order_relaxed);
    if (timer_.TakeExpired()) shared_.events->SendTimer(index());
    EnterRunstate(kRunning);
    Deliver();
    return Turn(VcpuTurn::Kind::kInterrupted);
  }
  const kvm_run& run = vcpu_->run();
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      return OnIo();
    case KVM_EXIT_MMIO:
      return OnMmio();
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      Deliver();
      return VcpuTurn{};
    case KVM_EXIT_SHUTDOWN:
      return Fail("triple fault");
    case KVM_EXIT_FAIL_ENTRY:
      return Fail("KVM failed to enter the guest, reason " +
                  std::to_string(run.fail_entry.hardware_entry_failure_reason));
    case KVM_EXIT_INTERNAL_ERROR: {
      HMVM_TRY_ASSIGN(const bool syscall, traps_.OnInterpretedSyscall());
      if (syscall) return VcpuTurn{};
      return Fail("KVM internal error, suberror " + std::to_string(run.internal.suberror));
    }
    default:
      return Fail("unexpected KVM exit " + std::to_string(run.exit_reason));
  }
}

// The vCPU may be in the monitor, whose way out does not look for an NMI, or in the handler of the one
// before: neither lasts, so it is interrupted again until it is found outside.
Result<> VcpuRunner::ReturnForNmi() {
  constexpr std::chrono::microseconds kSoon{50};
  if (!nmi_timer_.started()) HMVM_TRY(nmi_timer_.Start(*vcpu_));
  if (!nmi_timer_.armed()) nmi_timer_.Arm(kSoon);
  return {};
}

void VcpuRunner::Deliver() {
  // Taken before it is armed: one that is sent meanwhile is another.
  if (self().nmi_pending.exchange(false) && !traps_.DeliverNmi()) self().nmi_pending = true;
  traps_.DeliverEvent();
}

Result<VcpuTurn> VcpuRunner::Settle() {
  constexpr uint64_t kInterruptFlag = 1 << 9;
  kvm_run& run = vcpu_->run();
  bool exception_under_way = false;
  for (;;) {
    // KVM completes an exit on its way in, even if it then turns back. But it does not tell of an int3 that
    // it is about to deliver: that one goes first. Only exceptions of ring 3 matter, where interrupts are on.
    if (exception_under_way) {
      run.request_interrupt_window = 1;
    } else {
      vcpu_->kick_flag().Raise();
    }
    HMVM_TRY_ASSIGN(VcpuTurn turn, RunOnce());
    if (turn.kind == VcpuTurn::Kind::kEnded || !self().power.up()) return turn;
    const bool between =
        turn.kind == VcpuTurn::Kind::kInterrupted || run.exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN;
    exception_under_way =
        between && run.ready_for_interrupt_injection == 0 && (run.s.regs.regs.rflags & kInterruptFlag) != 0;
    if (between && !exception_under_way) return turn;
  }
}

Result<> VcpuRunner::Save(snapshot::VcpuState& vcpu, snapshot::Ring3Vcpu& state) const {
  HMVM_TRY_ASSIGN(vcpu, SaveVcpu(*vcpu_, {}, /*has_apic=*/false));
  const Power::State power = self().power.state();
  state.set_initialised(power.initialised);
  state.set_up(power.up);
  if (power.start) *state.mutable_start() = SaveStart(*power.start);
  const RunstateInfo runstate = self().runstate.info();
  state.set_runstate(runstate.state);
  state.set_runstate_entry_ns(runstate.entry_time_ns);
  for (const uint64_t ns : runstate.time_ns) state.add_runstate_ns(ns);
  state.set_runstate_area(self().runstate_area.load());
  if (const auto deadline = timer_.deadline_ns()) state.set_timer_deadline_ns(*deadline);
  state.set_debug_status(hypercalls_.debug_status());
  state.set_nmi_pending(self().nmi_pending.load());
  return {};
}

Result<> VcpuRunner::Restore(const snapshot::VcpuState& vcpu, const snapshot::Ring3Vcpu& state) {
  HMVM_TRY(RestoreVcpu(*vcpu_, vcpu, /*has_apic=*/false));
  HMVM_TRY(SetConstantMsrs(*vcpu_, *shared_.window));
  HMVM_TRY_ASSIGN(vcpu_->run().s.regs.regs, vcpu_->Regs());
  vcpu_->run().kvm_valid_regs = KVM_SYNC_X86_REGS;

  Power::State power = {.initialised = state.initialised(), .up = state.up(), .start = {}};
  if (power.up && !power.initialised) return Error{EINVAL, "vCPU that is on and has no state"};
  if (state.has_start()) {
    HMVM_TRY_ASSIGN(power.start, RestoreStart(state.start()));
    if (!CanStart(*power.start, *context_.memory, *shared_.window)) {
      return Error{EINVAL, "vCPU can't start from its state"};
    }
  }
  self().power.Restore(std::move(power));

  RunstateInfo runstate = {
      .state = state.runstate(), .padding = 0, .entry_time_ns = state.runstate_entry_ns(), .time_ns = {}};
  if (state.runstate() > kOffline || state.runstate_ns_size() != std::ssize(runstate.time_ns)) {
    return Error{EINVAL, "no runstate"};
  }
  std::ranges::copy(state.runstate_ns(), runstate.time_ns);
  self().runstate.Restore(runstate);
  self().runstate_area = state.runstate_area();
  if (state.has_timer_deadline_ns()) timer_.Set(state.timer_deadline_ns());
  hypercalls_.SetDebugStatus(state.debug_status());
  self().nmi_pending = state.nmi_pending();
  vcpu_->Kick();
  return {};
}

// KVM_RUN. Who wants translations flushed sets flush_requested, then reads `running` and, if set, has us
// interrupted; we do it in the opposite order, so that one of the two sees the other.
Result<bool> VcpuRunner::EnterGuest() {
  const std::atomic_ref<uint64_t> running(cpu().running);
  const std::atomic_ref<uint64_t> flush_requested(cpu().flush_requested);
  running.store(1);
  if (flush_requested.load() != 0) {
    flush_requested.store(0);
    HMVM_TRY(FlushTranslations());
  }
  auto exited = vcpu_->Run();
  running.store(0, std::memory_order_release);
  return exited;
}

// KVM brings the page tables that it shadows up to date when the guest loads cr3. Here the guest is anywhere,
// with nothing to be changed in it: a change of EFER, there and back, has KVM do the same on its way in.
Result<> VcpuRunner::FlushTranslations() {
  counters_.flushed.fetch_add(1, std::memory_order_relaxed);
  constexpr uint64_t kNoExecuteEnable = 1 << 11;
  const kvm_msr_entry msrs[] = {{.index = kMsrEfer, .reserved = 0, .data = kEfer & ~kNoExecuteEnable},
                                {.index = kMsrEfer, .reserved = 0, .data = kEfer}};
  return vcpu_->SetMsrs(msrs);
}

VcpuTurn VcpuRunner::OnMmio() {
  counters_.mmio.fetch_add(1, std::memory_order_relaxed);
  kvm_run& run = vcpu_->run();
  const size_t length = std::min<size_t>(run.mmio.len, sizeof(run.mmio.data));
  const std::span<std::byte> data = std::as_writable_bytes(std::span(run.mmio.data)).first(length);
  if (run.mmio.is_write != 0) {
    context_.mmio->Write(run.mmio.phys_addr, data);
  } else {
    std::memset(data.data(), 0xff, length);
    context_.mmio->Read(run.mmio.phys_addr, data);
  }
  return {};
}

// The only port accesses that reach us are those of the stubs: at CPL 3 each is a #GP (no bitmap in the TSS).
Result<VcpuTurn> VcpuRunner::OnIo() {
  const kvm_run& run = vcpu_->run();
  const uint64_t rip = run.s.regs.regs.rip;
  const uint64_t vector = run.io.port;
  if (vector >= kVectors || rip - shared_.window->header(index()).stub_exits > kVectors * kExitStubBytes) {
    return Fail("port access outside the monitor");
  }
  const auto outcome = traps_.OnException(static_cast<uint32_t>(vector));
  if (!outcome.has_value()) return Fail(outcome.error().what);
  switch (*outcome) {
    case Traps::Outcome::kVmmCall:
      return OnVmmCall();
    case Traps::Outcome::kEmulated:
      counters_.emulation.fetch_add(1, std::memory_order_relaxed);
      break;
    case Traps::Outcome::kSingleStepped:
      hypercalls_.SetSingleStepped();
      [[fallthrough]];
    case Traps::Outcome::kInjected:
    case Traps::Outcome::kAnswered:
      counters_.exception.fetch_add(1, std::memory_order_relaxed);
      break;
  }
  return VcpuTurn{};
}

VcpuTurn VcpuRunner::OnVmmCall() {
  counters_.hypercall.fetch_add(1, std::memory_order_relaxed);
  const VmmCall call = cpu().call;
  Hypercalls::Arguments arguments;
  std::copy(std::begin(call.arguments), std::end(call.arguments), arguments.begin());
  cpu().call.result = hypercalls_.Call(call.number, arguments);
  if (timer_.TakeExpired()) shared_.events->SendTimer(index());
  if (hypercalls_.end().has_value()) return Ended(*hypercalls_.end(), {});
  return {};
}

// ---- waiting ----

// All signals are blocked between the last look and ppoll, which lets them in: none is missed.
template <typename Done>
void VcpuRunner::Wait(RunstateKind why, uint64_t deadline_ns, Done done) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  waiting_ = true;  // before the look: who makes done() true looks at this afterwards
  const KickFlag kicked = vcpu_->kick_flag();
  bool slept = false;
  while (!done() && !kicked.raised()) {
    timespec left;
    if (deadline_ns != 0) {
      const uint64_t now = shared_.clock->NowNs();
      if (now >= deadline_ns) break;
      left = {.tv_sec = static_cast<time_t>((deadline_ns - now) / kNsPerSecond),
              .tv_nsec = static_cast<long>((deadline_ns - now) % kNsPerSecond)};
    }
    if (!slept) EnterRunstate(why);
    slept = true;
    ::ppoll(nullptr, 0, deadline_ns != 0 ? &left : nullptr, &before);
  }
  waiting_ = false;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (slept) EnterRunstate(kRunning);
}

void VcpuRunner::WaitForEvent() {
  counters_.idle.fetch_add(1, std::memory_order_relaxed);
  Wait(kBlocked, 0, [this] { return shared_.events->Pending(index()) || self().nmi_pending; });
}

void VcpuRunner::WaitForPort(std::span<const uint32_t> ports, uint64_t deadline_ns) {
  counters_.idle.fetch_add(1, std::memory_order_relaxed);
  EventChannels& events = *shared_.events;
  events.SetPolling(index(), true);
  Wait(kBlocked, deadline_ns, [this, &events, ports] {
    return events.Deliverable(index()) || self().nmi_pending ||
           std::ranges::any_of(ports, [&events](uint32_t port) { return events.PortPending(port); });
  });
  events.SetPolling(index(), false);
}

void VcpuRunner::Wake() const {
  // A wait ends with the signal. Elsewhere the vCPU must come out of KVM_RUN, too.
  if (waiting_) {
    vcpu_->Signal();
  } else {
    vcpu_->Kick();
  }
}

void VcpuRunner::EnterRunstate(RunstateKind state) {
  const uint64_t now = shared_.clock->NowNs();
  self().runstate.Enter(state, now, ThreadProcessorNs());
  const uint64_t area = self().runstate_area.load(std::memory_order_relaxed);
  // A vCPU that has never run has no tables to find the area in.
  if (area != 0 && cpu().kernel_root != 0) {
    WriteRunstate(access_, cpu().kernel_root, area, self().runstate.At(now));
  }
}

}  // namespace hmvm::ring3
