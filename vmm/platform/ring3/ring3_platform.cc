#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "vmm/kvm/describe.h"
#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/boot_builder.h"
#include "vmm/platform/ring3/clock.h"
#include "vmm/platform/ring3/cpuid.h"
#include "vmm/platform/ring3/emulate.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/guest_access.h"
#include "vmm/platform/ring3/hypercalls.h"
#include "vmm/platform/ring3/timer.h"
#include "vmm/platform/ring3/user_exceptions.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm {
namespace ring3 {
namespace {

constexpr uint64_t kTrapFlag = 0x100;
constexpr uint32_t kDebugException = 1;
constexpr uint32_t kInvalidOpcode = 6;
constexpr uint32_t kStackFault = 12;
constexpr uint32_t kGeneralProtection = 13;

constexpr uint64_t kBlock = Window::AddressOf(kBlockOffset);
constexpr uint64_t kUserInjectGate = kBlock + kBlockEntry + USER_INJECT_GATE;

// The rsp of a user at the inject gate, which needs none. The program's own may be an address that is not
// canonical: with such a one KVM makes a #UD of the gate's int3, whereupon the VMM would inject again, for
// ever.
constexpr uint64_t kGateStack = 0;
constexpr uint64_t kSyscallBytes = 2;

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

bool HasErrorCode(uint32_t vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

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

// A device's interrupt is an event channel.
class DeviceLine : public InterruptLine {
 public:
  DeviceLine(EventChannels* events, const Vcpu* vcpu, uint32_t port)
      : events_(events), vcpu_(vcpu), port_(port) {}
  void Trigger() override {
    if (events_->Send(port_)) vcpu_->Kick();
  }

 private:
  EventChannels* const events_;
  const Vcpu* const vcpu_;
  const uint32_t port_;
};

class Ring3Platform : public Platform, private IdleWait {
 public:
  static Result<std::unique_ptr<Platform>> Create(const PlatformContext& context);

  std::string_view Name() const override { return "ring3"; }
  uint32_t MaxVcpus() const override { return 1; }
  // A line of text is one hypercall, where the port itself takes several exceptions a byte.
  std::string_view EarlyConsole() const override { return "earlyprintk=xen"; }
  Result<DeviceInterrupt> AddDeviceInterrupt(uint32_t slot) override;
  Result<> Load(const BootSource& source) override;
  std::span<Vcpu> vcpus() override { return std::span(&vcpu_, 1); }
  Result<VcpuTurn> RunOnce(Vcpu& vcpu) override;
  std::vector<std::pair<std::string, uint64_t>> Counters() const override;

 private:
  Ring3Platform(const PlatformContext& context, Window window, Vcpu vcpu, uint32_t tsc_khz);

  Result<> SetInitialState(const BootState& state);

  void WaitForEvent() override;
  Result<> OnInterrupted();
  Result<VcpuTurn> OnIo();
  VcpuTurn OnMmio();
  Result<VcpuTurn> OnException(uint32_t vector);
  VcpuTurn OnVmmCall();
  bool Emulate(uint32_t vector);
  UserException AsOnACpu(UserException seen);
  Result<bool> OnInterpretedSyscall();
  void Redirect(uint32_t vector, uint64_t error);
  VcpuTurn Fail(const std::string& reason) const;

  PlatformContext context_;
  Window window_;
  Vcpu vcpu_;
  Clock clock_;
  VcpuTimer timer_;
  EventChannels events_;
  Hypercalls hypercalls_;
  Emulator emulator_;
  GuestAccess access_;

  struct {
    std::atomic<uint64_t> hypercall{0};
    std::atomic<uint64_t> emulation{0};
    std::atomic<uint64_t> exception{0};
    std::atomic<uint64_t> mmio{0};
    std::atomic<uint64_t> interrupted{0};
    std::atomic<uint64_t> idle{0};
  } counters_;
};

Result<std::unique_ptr<Platform>> Ring3Platform::Create(const PlatformContext& context) {
  HMVM_TRY_ASSIGN(Window window, Window::Create(*context.memory, 1));
  HMVM_TRY(window.AddTo(*context.vm));
  HMVM_TRY_ASSIGN(Vcpu vcpu, context.vm->CreateVcpu(0));
  HMVM_TRY_ASSIGN(const std::vector<kvm_cpuid_entry2> cpuid, context.kvm->SupportedCpuid());
  HMVM_TRY(vcpu.SetCpuid(cpuid));
  HMVM_TRY_ASSIGN(const int tsc_khz, vcpu.Ioctl(KVM_GET_TSC_KHZ, nullptr, "KVM_GET_TSC_KHZ"));
  return std::unique_ptr<Platform>(
      new Ring3Platform(context, std::move(window), std::move(vcpu), static_cast<uint32_t>(tsc_khz)));
}

Ring3Platform::Ring3Platform(const PlatformContext& context, Window window, Vcpu vcpu, uint32_t tsc_khz)
    : context_(context),
      window_(std::move(window)),
      vcpu_(std::move(vcpu)),
      clock_(tsc_khz, Clock::ReadTsc()),
      timer_(&clock_),
      events_(&window_.shared_info()),
      hypercalls_({.memory = context.memory,
                   .window = &window_,
                   .clock = &clock_,
                   .ports = context.ports,
                   .events = &events_,
                   .timer = &timer_,
                   .idle = this}),
      emulator_(&vcpu_, &window_, context.ports),
      access_(context.memory) {}

Result<Platform::DeviceInterrupt> Ring3Platform::AddDeviceInterrupt(uint32_t slot) {
  if (slot >= EventChannels::kDeviceSlots) return Error{EINVAL, "no device slot " + std::to_string(slot)};
  const uint32_t port = EventChannels::DevicePort(slot);
  return DeviceInterrupt{port, std::make_unique<DeviceLine>(&events_, &vcpu_, port)};
}

Result<> Ring3Platform::Load(const BootSource& source) {
  auto state = BuildBoot(source, *context_.memory, window_);
  if (!state.has_value()) return state.error();
  Cpu& cpu = window_.cpu(0);
  cpu.kernel_root = state->root;
  cpu.enter_root = state->root;
  cpu.gate_root = state->root;

  SharedInfo& shared = window_.shared_info();
  std::memset(shared.mask, 0xff, sizeof(shared.mask));
  shared.vcpu_info[0].upcall_mask = 1;
  clock_.Publish(&shared.vcpu_info[0].time);
  clock_.PublishWallClock(&shared);
  return SetInitialState(*state);
}

Result<> Ring3Platform::SetInitialState(const BootState& state) {
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu_.Sregs());
  sregs.cr0 = 0x80050033;  // as the emulator tells the guest
  sregs.cr4 = 0x40620;
  sregs.efer = 0xd01;
  sregs.cr3 = state.root;
  sregs.gdt.base = kBlock + kBlockGdt;
  sregs.gdt.limit = 7 * 8 - 1;
  sregs.idt.base = kBlock + kBlockIdtKernel;
  sregs.idt.limit = kVectors * 16 - 1;
  kvm_segment task = {};
  task.base = kBlock + kBlockGdt + kTssInGdtPage;
  task.limit = 0x67;
  task.selector = 0x40;
  task.type = 11;
  task.present = 1;
  sregs.tr = task;
  // None: a program that names an entry of it gets a #GP.
  sregs.ldt = {};
  sregs.ldt.unusable = 1;
  sregs.cs = UserSegment(kUserCs, true);
  sregs.ss = sregs.ds = sregs.es = sregs.fs = sregs.gs = UserSegment(kUserSs, false);
  HMVM_TRY(vcpu_.SetSregs(sregs));
  HMVM_TRY(vcpu_.SetXcr0(HostXcr0()));

  constexpr uint32_t kMsrStar = 0xc0000081;
  constexpr uint32_t kMsrLstar = 0xc0000082;
  constexpr uint32_t kMsrSyscallMask = 0xc0000084;
  // TF, DF, NT and AC are cleared on entry. Not IF: with it in the mask this KVM takes a slower path.
  const kvm_msr_entry msrs[] = {
      {.index = kMsrStar, .reserved = 0, .data = (uint64_t{0x23} << 48) | (uint64_t{0x10} << 32)},
      {.index = kMsrLstar, .reserved = 0, .data = window_.header(0).entry_start},
      {.index = kMsrSyscallMask, .reserved = 0, .data = 0x44500},
  };
  HMVM_TRY(vcpu_.SetMsrs(msrs));

  kvm_regs regs = {};
  regs.rip = state.entry;
  regs.rsp = state.stack;
  regs.rsi = state.start_info;
  regs.rflags = 0x202;
  HMVM_TRY(vcpu_.SetRegs(regs));
  vcpu_.run().kvm_valid_regs = KVM_SYNC_X86_REGS;
  return {};
}

// ---- running ----

VcpuTurn Ring3Platform::Fail(const std::string& reason) const {
  const Cpu& cpu = window_.cpu(0);
  char state[256];
  std::snprintf(state, sizeof(state),
                "\nmonitor: user_mode=%" PRIu64 " kernel_root=0x%" PRIx64 " user_root=0x%" PRIx64
                " exception rip=0x%" PRIx64 " rsp=0x%" PRIx64 " error=0x%" PRIx64 " fault_address=0x%" PRIx64,
                cpu.user_mode, cpu.kernel_root, cpu.user_root, cpu.exception.rip, cpu.exception.rsp,
                cpu.exception_error, cpu.fault_address);
  return Ended(MachineEnd::kKvmError,
               "ring3: " + reason + state + "\n" + DescribeVcpu(vcpu_, *context_.memory));
}

Result<VcpuTurn> Ring3Platform::RunOnce(Vcpu& vcpu) {
  if (!timer_.started()) HMVM_TRY(timer_.Start(vcpu));
  HMVM_TRY_ASSIGN(const bool exited, vcpu.Run());
  if (!exited) {
    counters_.interrupted.fetch_add(1, std::memory_order_relaxed);
    HMVM_TRY(OnInterrupted());
    return Turn(VcpuTurn::Kind::kInterrupted);
  }
  const kvm_run& run = vcpu.run();
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      return OnIo();
    case KVM_EXIT_MMIO:
      return OnMmio();
    case KVM_EXIT_SHUTDOWN:
      return Fail("triple fault");
    case KVM_EXIT_FAIL_ENTRY:
      return Fail("KVM failed to enter the guest, reason " +
                  std::to_string(run.fail_entry.hardware_entry_failure_reason));
    case KVM_EXIT_INTERNAL_ERROR: {
      HMVM_TRY_ASSIGN(const bool syscall, OnInterpretedSyscall());
      if (syscall) return VcpuTurn{};
      return Fail("KVM internal error, suberror " + std::to_string(run.internal.suberror));
    }
    default:
      return Fail("unexpected KVM exit " + std::to_string(run.exit_reason));
  }
}

VcpuTurn Ring3Platform::OnMmio() {
  counters_.mmio.fetch_add(1, std::memory_order_relaxed);
  kvm_run& run = vcpu_.run();
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
Result<VcpuTurn> Ring3Platform::OnIo() {
  const kvm_run& run = vcpu_.run();
  const uint64_t rip = run.s.regs.regs.rip;
  const uint64_t vector = run.io.port;
  if (vector >= kVectors || rip - window_.header(0).stub_exits > kVectors * kExitStubBytes) {
    return Fail("port access outside the monitor");
  }
  return OnException(static_cast<uint32_t>(vector));
}

Result<VcpuTurn> Ring3Platform::OnException(uint32_t vector) {
  const Cpu& cpu = window_.cpu(0);
  // From CPL 3 the CPU pushes to the top of the exception stack; elsewhere means that a stub faulted.
  const uint64_t frame = kBlock + kBlockCpu + (HasErrorCode(vector) ? EXCEPTION_ERROR : EXCEPTION_RIP);
  if (vcpu_.run().s.regs.regs.rsp != frame) {
    return Fail("exception " + std::to_string(vector) + " at CPL 0");
  }
  const uint64_t rip = cpu.exception.rip;
  const bool user = cpu.user_mode != 0;
  if (!user && vector == kInvalidOpcode && rip == window_.header(0).call_vmm) return OnVmmCall();
  const bool in_monitor = !user && Window::Contains(rip);
  if (in_monitor && (vector == kStackFault || vector == kGeneralProtection)) {
    // As a page fault would: a hypercall's pointer led nowhere.
    window_.cpu(0).exception.rip = window_.header(0).fault_monitor;
    return VcpuTurn{};
  }
  if (in_monitor) {
    return Fail(rip == window_.header(0).monitor_dead
                    ? "the guest kernel has no stack or no handler"
                    : "exception " + std::to_string(vector) + " in the monitor");
  }
  if (!user && Emulate(vector)) {
    counters_.emulation.fetch_add(1, std::memory_order_relaxed);
    if (events_.Deliverable()) Redirect(kInjectEvent, 0);
    return VcpuTurn{};
  }
  counters_.exception.fetch_add(1, std::memory_order_relaxed);
  if (vector == kDebugException) {
    if (user && rip == window_.header(0).entry_start) {
      // A single-stepped system call: the step ends behind `syscall`, on the way into the kernel, which takes
      // the trap flag from r11.
      window_.cpu(0).exception.rflags &= ~kTrapFlag;
      return VcpuTurn{};
    }
    // Without the flag it was an icebp.
    if ((cpu.exception.rflags & kTrapFlag) != 0) hypercalls_.SetSingleStepped();
  }
  UserException exception = {vector, HasErrorCode(vector) ? cpu.exception_error : 0};
  if (user) exception = AsOnACpu(exception);
  window_.cpu(0).exception.rip += exception.advance;
  if (cpu.traps[exception.vector].handler == 0)
    return Fail("exception " + std::to_string(exception.vector) + " without a handler");
  Redirect(exception.vector, exception.error);
  return VcpuTurn{};
}

UserException Ring3Platform::AsOnACpu(UserException seen) {
  if (seen.vector != kInvalidOpcode) return seen;
  Cpu& cpu = window_.cpu(0);
  if (cpu.exception.rip == window_.header(0).entry_start) {
    // The gate's int3, with an rsp that is not canonical, after a `syscall` of the program's.
    const kvm_regs& regs = vcpu_.run().s.regs.regs;
    cpu.exception.rip = regs.rcx - kSyscallBytes;
    cpu.exception.rflags = (regs.r11 & USER_FLAGS) | ALWAYS_FLAGS;
    return kBadStack;
  }
  uint8_t code[2];
  const std::span bytes = std::as_writable_bytes(std::span(code));
  const bool both = access_.Read(cpu.user_root, cpu.exception.rip, bytes);
  if (!both && !access_.Read(cpu.user_root, cpu.exception.rip, bytes.first(1))) return seen;
  return SoftwareInterrupt(std::span(code).first(both ? 2 : 1)).value_or(seen);
}

// KVM interprets a program whose rsp is not canonical when it has been interrupted so, its `syscall` too,
// which then arrives at LSTAR at CPL 0. There lies an int3, which KVM can't interpret.
Result<bool> Ring3Platform::OnInterpretedSyscall() {
  Cpu& cpu = window_.cpu(0);
  HMVM_TRY_ASSIGN(kvm_regs regs, vcpu_.Regs());
  if (cpu.user_mode == 0 || regs.rip != window_.header(0).entry_start || cpu.injection.armed != 0)
    return false;
  HMVM_TRY_ASSIGN(kvm_sregs sregs, vcpu_.Sregs());
  sregs.cs = UserSegment(kUserCs, true);
  sregs.ss = UserSegment(kUserSs, false);
  HMVM_TRY(vcpu_.SetSregs(sregs));
  cpu.injection = {.armed = 1,
                   .vector = kBadStack.vector,
                   .error = kBadStack.error,
                   .rip = regs.rcx - kSyscallBytes,
                   .rflags = (regs.r11 & USER_FLAGS) | ALWAYS_FLAGS,
                   .rsp = regs.rsp};
  regs.rip = kUserInjectGate;
  regs.rsp = kGateStack;
  regs.rflags = ALWAYS_FLAGS;
  HMVM_TRY(vcpu_.SetRegs(regs));
  return true;
}

bool Ring3Platform::Emulate(uint32_t vector) {
  if (vector != kInvalidOpcode && vector != kGeneralProtection) return false;
  Cpu& cpu = window_.cpu(0);
  uint8_t code[kMaxInstructionBytes] = {};
  const uint64_t rip = cpu.exception.rip;
  // What lies in a page that is not mapped stays zero: no instruction that we know.
  const uint64_t in_page = std::min<uint64_t>(sizeof(code), kPageSize - rip % kPageSize);
  if (!access_.Read(cpu.kernel_root, rip, std::as_writable_bytes(std::span(code, in_page)))) return false;
  if (in_page < sizeof(code)) {
    static_cast<void>(access_.Read(cpu.kernel_root, rip + in_page,
                                   std::as_writable_bytes(std::span(code).subspan(in_page))));
  }
  kvm_regs& regs = vcpu_.run().s.regs.regs;
  const auto length = vector == kInvalidOpcode ? emulator_.InvalidOpcode(code, regs)
                                               : emulator_.GeneralProtection(code, regs);
  if (!length.has_value()) return false;
  vcpu_.run().kvm_dirty_regs = KVM_SYNC_X86_REGS;
  cpu.exception.rip = rip + *length;
  return true;
}

// The exit stub's iretq will lead to an inject gate, and on to the kernel's handler.
void Ring3Platform::Redirect(uint32_t vector, uint64_t error) {
  Cpu& cpu = window_.cpu(0);
  InterruptFrame& frame = cpu.exception;
  cpu.injection = {.armed = 1,
                   .vector = vector,
                   .error = error,
                   .rip = frame.rip,
                   .rflags = frame.rflags,
                   .rsp = frame.rsp};
  if (cpu.user_mode != 0) {
    frame.rip = kUserInjectGate;
    frame.rsp = kGateStack;
  } else {
    frame.rip = window_.header(0).inject_kernel;
  }
  frame.rflags &= ~kTrapFlag;
}

VcpuTurn Ring3Platform::OnVmmCall() {
  counters_.hypercall.fetch_add(1, std::memory_order_relaxed);
  Cpu& cpu = window_.cpu(0);
  const VmmCall call = cpu.call;
  Hypercalls::Arguments arguments;
  std::copy(std::begin(call.arguments), std::end(call.arguments), arguments.begin());
  cpu.call.result = hypercalls_.Call(call.number, arguments);
  constexpr uint64_t kUd2Bytes = 2;
  cpu.exception.rip += kUd2Bytes;
  if (timer_.TakeExpired()) events_.Send(events_.timer_port());
  if (hypercalls_.end().has_value()) return Ended(*hypercalls_.end(), {});
  return {};
}

// SCHEDOP_block. A signal ends the wait: a Trigger's or the machine's Kick, or the timer's. All signals are
// blocked between the last look and ppoll, which lets them in: none is missed.
void Ring3Platform::WaitForEvent() {
  counters_.idle.fetch_add(1, std::memory_order_relaxed);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const volatile __u8& kicked = vcpu_.run().immediate_exit;
  while (!events_.Pending() && kicked == 0) ::ppoll(nullptr, 0, nullptr, &before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// KVM_RUN ended without an exit: deliver a pending event if the guest takes it. Where the vCPU is in the
// monitor, the monitor either looks for events later on its way or is brought to look again.
Result<> Ring3Platform::OnInterrupted() {
  if (timer_.TakeExpired()) events_.Send(events_.timer_port());
  if (!events_.Deliverable()) return {};
  HMVM_TRY_ASSIGN(kvm_regs regs, vcpu_.Regs());
  Cpu& cpu = window_.cpu(0);
  const MonitorHeader& monitor = window_.header(0);
  const auto in = [&regs](uint64_t start, uint64_t end) { return regs.rip >= start && regs.rip < end; };
  for (const auto& [start, end] : {std::pair(monitor.hypercall_return, monitor.hypercall_return_end),
                                   std::pair(monitor.kernel_return, monitor.kernel_return_end),
                                   std::pair(monitor.user_return, monitor.user_return_committed)}) {
    if (!in(start, end)) continue;
    regs.rip = start;
    return vcpu_.SetRegs(regs);
  }
  const uint64_t user_frame = kBlock + kBlockCpu + offsetof(Cpu, user_frame);
  if (in(monitor.user_return_committed, monitor.user_return_end) ||
      (in(monitor.stub_gate, monitor.stub_gate_end) && cpu.gate_frame == user_frame)) {
    if (cpu.injection.armed != 0) return {};
    InterruptFrame& frame = cpu.user_frame.interrupt;
    cpu.injection = {.armed = 1,
                     .vector = kInjectEvent,
                     .error = 0,
                     .rip = frame.rip,
                     .rflags = frame.rflags,
                     .rsp = frame.rsp};
    frame.rip = kUserInjectGate;
    frame.rsp = kGateStack;
    frame.rflags &= ~kTrapFlag;
    return {};
  }
  if (Window::Contains(regs.rip) || cpu.injection.armed != 0) return {};
  // An exception on its way to the guest would be lost by setting registers; it leads into the kernel, which
  // looks for events when it leaves.
  HMVM_TRY_ASSIGN(const kvm_vcpu_events pending, vcpu_.Events());
  if (pending.exception.injected != 0 || pending.exception.pending != 0) return {};
  cpu.injection = {.armed = 1,
                   .vector = kInjectEvent,
                   .error = 0,
                   .rip = regs.rip,
                   .rflags = regs.rflags,
                   .rsp = regs.rsp};
  if (cpu.user_mode != 0) {
    regs.rip = kUserInjectGate;
    regs.rsp = kGateStack;
  } else {
    regs.rip = monitor.inject_kernel;
  }
  regs.rflags &= ~kTrapFlag;
  return vcpu_.SetRegs(regs);
}

std::vector<std::pair<std::string, uint64_t>> Ring3Platform::Counters() const {
  const Cpu& cpu = window_.cpu(0);
  std::vector<std::pair<std::string, uint64_t>> counters = {
      {"exits.hypercall", counters_.hypercall},
      {"exits.emulation", counters_.emulation},
      {"exits.exception", counters_.exception},
      {"exits.mmio", counters_.mmio},
      {"exits.interrupted", counters_.interrupted},
      {"idle", counters_.idle},
      {"events.sent", events_.sent()},
      {"events.delivered", cpu.count_events},
      {"guest.syscalls", cpu.count_syscalls},
      {"guest.page_faults", cpu.count_faults},
      {"guest.page_table_updates", cpu.count_page_table_updates},
      {"guest.flushes", cpu.count_flushes},
  };
  for (uint64_t number = 0; number < kHypercalls; ++number) {
    if (cpu.count_hypercalls[number] == 0) continue;
    const std::string_view name = Hypercalls::NameOf(number);
    counters.emplace_back("hypercalls." + (name.empty() ? std::to_string(number) : std::string(name)),
                          cpu.count_hypercalls[number]);
  }
  return counters;
}

}  // namespace
}  // namespace ring3

Result<std::unique_ptr<Platform>> CreateRing3Platform(const PlatformContext& context) {
  return ring3::Ring3Platform::Create(context);
}

}  // namespace hmvm
