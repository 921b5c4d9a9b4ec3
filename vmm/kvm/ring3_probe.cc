#include "vmm/kvm/ring3_probe.h"

#include <cpuid.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "vmm/kvm/kick_timer.h"
#include "vmm/kvm/tsc_moment.h"

namespace hmvm {
namespace {

// For guest code that never comes back: processor time, as a busy host is no hanging one.
constexpr auto kPatience = std::chrono::milliseconds(250);
// How long ring 3 spins before it is kicked, and how often at most, should the kick come before it spins.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kMostKicks = 50;

constexpr uint64_t kAvx = 4;  // of XCR0

uint64_t HostXcr0() {
  uint32_t low;
  uint32_t high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool HostHasXsave() {
  constexpr uint32_t kOsxsave = 1 << 27;
  uint32_t eax;
  uint32_t ebx;
  uint32_t ecx;
  uint32_t edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kOsxsave) != 0;
}

// The register in which the guest keeps its pattern, changed in the host's thread.
void ClobberVectorRegister(uint64_t xcr0) {
  if ((xcr0 & kAvx) != 0) asm volatile("vpcmpeqd %%xmm5, %%xmm5, %%xmm5" ::: "xmm5");
}

class Run {
 public:
  Run(Vcpu& vcpu, const ProbeMachine& machine, uint64_t xcr0) : vcpu_(vcpu), machine_(machine), xcr0_(xcr0) {}

  Result<> ToEnd(const Vm& vm);
  Ring3Behaviours Judge() const;

 private:
  // false: the guest goes no further.
  Result<bool> OnKick();
  Result<bool> OnPort();
  Result<> LookAtState();
  Result<> KeepXsave();
  void OnMmio();

  Vcpu& vcpu_;
  const ProbeMachine& machine_;
  const uint64_t xcr0_;
  KickTimer kick_timer_;
  KickTimer watchdog_;
  TscMoment start_;
  TscMoment end_;
  int tsc_khz_ = 0;
  bool spinning_ = false;
  int kicks_ = 0;

  bool bases_ = false;
  bool registers_ = false;
  bool xsave_ = false;
  bool mmio_stored_ = false;
  bool mmio_event_exited_ = false;
  uint64_t events_ = 0;
  bool kicked_ = false;
  ProbeResults results_ = {};
};

Result<> Run::ToEnd(const Vm& vm) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return Error{errno, "eventfd"};
  HMVM_TRY(
      vm.AddIoeventfd(event.get(), ProbeMachine::kMmioAddress + PROBE_MMIO_EVENT, PROBE_MMIO_EVENT_VALUE));
  if (const auto khz = vcpu_.Ioctl(KVM_GET_TSC_KHZ, nullptr, "KVM_GET_TSC_KHZ"); khz.has_value()) {
    tsc_khz_ = *khz;
  }
  HMVM_TRY(kick_timer_.Start(vcpu_));
  HMVM_TRY(watchdog_.Start(vcpu_, CLOCK_THREAD_CPUTIME_ID));
  watchdog_.Arm(kPatience);
  vcpu_.run().kvm_valid_regs = KVM_SYNC_X86_REGS;
  start_ = TscMoment::Now();
  for (bool running = true; running;) {
    const auto exited = vcpu_.Run();
    if (!exited.has_value()) break;  // KVM itself gave up: what was seen until now counts
    if (!*exited) {
      HMVM_TRY_ASSIGN(running, OnKick());
    } else if (vcpu_.run().exit_reason == KVM_EXIT_IO) {
      HMVM_TRY_ASSIGN(running, OnPort());
    } else if (vcpu_.run().exit_reason == KVM_EXIT_MMIO) {
      OnMmio();
    } else {
      running = false;
    }
  }
  end_ = TscMoment::Now();
  kick_timer_.Arm({});
  watchdog_.Arm({});
  if (::eventfd_read(event.get(), &events_) < 0) events_ = 0;
  std::memcpy(&results_, &machine_.results(), sizeof(results_));
  return {};
}

Result<bool> Run::OnKick() {
  if (!spinning_ || ++kicks_ > kMostKicks) return false;
  HMVM_TRY_ASSIGN(const kvm_regs regs, vcpu_.Regs());
  HMVM_TRY_ASSIGN(const kvm_sregs sregs, vcpu_.Sregs());
  if (regs.rip < ProbeMachine::AddressOf(hmvm_probe_spin) ||
      regs.rip >= ProbeMachine::AddressOf(hmvm_probe_spin_end)) {
    kick_timer_.Arm(kSpin);  // on its way there
    return true;
  }
  kicked_ = sregs.cs.dpl == 3;
  spinning_ = false;
  ClobberVectorRegister(xcr0_);
  std::atomic_ref(machine_.results().go).store(1);
  watchdog_.Arm(kPatience);
  return true;
}

Result<bool> Run::OnPort() {
  const kvm_run& run = vcpu_.run();
  if (run.io.direction != KVM_EXIT_IO_OUT || run.io.port != PROBE_PORT_CALL) return false;
  switch (run.s.regs.regs.rax) {
    case PROBE_CALL_STATE:
      HMVM_TRY(LookAtState());
      break;
    case PROBE_CALL_SPIN:
      spinning_ = true;
      kick_timer_.Arm(kSpin);
      break;
    case PROBE_CALL_DONE:
      return false;
    default:
      break;
  }
  return true;
}

Result<> Run::LookAtState() {
  kvm_run& run = vcpu_.run();
  registers_ = run.s.regs.regs.rdx == 0;
  run.s.regs.regs.rdx = PROBE_STATE_ANSWER;
  run.kvm_dirty_regs = KVM_SYNC_X86_REGS;
  HMVM_TRY_ASSIGN(const kvm_sregs sregs, vcpu_.Sregs());
  bases_ = sregs.fs.base == PROBE_FS_BASE && sregs.gs.base == PROBE_GS_BASE;
  static_cast<void>(KeepXsave());  // refused: not kept
  ClobberVectorRegister(xcr0_);
  return {};
}

// KVM shows the guest's vector registers and takes them back.
Result<> Run::KeepXsave() {
  if ((xcr0_ & kAvx) == 0) {
    xsave_ = true;
    return {};
  }
  constexpr size_t kXmm5 = 160 + 5 * 16;       // of the legacy area
  constexpr size_t kUpperHalfOfYmm5 = 5 * 16;  // of the AVX component
  constexpr uint32_t kAvxComponent = 2;
  uint32_t size;
  uint32_t offset;
  uint32_t ecx;
  uint32_t edx;
  __cpuid_count(0xd, kAvxComponent, size, offset, ecx, edx);
  HMVM_TRY_ASSIGN(const std::vector<std::byte> area, vcpu_.Xsave());
  const auto pattern = std::as_bytes(std::span(machine_.results().avx_pattern));
  const std::span<const std::byte> bytes(area);
  const bool shown =
      offset + kUpperHalfOfYmm5 + 16 <= bytes.size() &&
      std::ranges::equal(bytes.subspan(kXmm5, 16), pattern.first(16)) &&
      std::ranges::equal(bytes.subspan(offset + kUpperHalfOfYmm5, 16), pattern.subspan(16, 16));
  HMVM_TRY(vcpu_.SetXsave(area));
  xsave_ = shown;
  return {};
}

void Run::OnMmio() {
  kvm_run& run = vcpu_.run();
  uint32_t value = 0;
  if (run.mmio.len != sizeof(value)) return;
  std::memcpy(&value, run.mmio.data, sizeof(value));
  const uint64_t offset = run.mmio.phys_addr - ProbeMachine::kMmioAddress;
  if (run.mmio.is_write != 0) {
    if (offset == PROBE_MMIO_STORE) mmio_stored_ = value == PROBE_MMIO_STORED;
    if (offset == PROBE_MMIO_EVENT) mmio_event_exited_ = true;
  } else if (offset == PROBE_MMIO_LOAD) {
    value = PROBE_MMIO_LOADED;
    std::memcpy(run.mmio.data, &value, sizeof(value));
  }
}

Ring3Behaviours Run::Judge() const {
  const ProbeResults& r = results_;
  const auto at = [](const char* symbol) { return ProbeMachine::AddressOf(symbol); };
  const auto seen = [&r](uint64_t step, bool good) {
    return r.step < step ? Seen::kNotTried : good ? Seen::kYes : Seen::kNo;
  };
  // From ring 3 to a ring-0 handler.
  const auto came = [&r](uint64_t number, uint64_t vector) {
    const ProbeException& exception = r.exceptions[number];
    return exception.seen == (0x100 | vector) && (exception.from_cs & 3) == 3 &&
           (exception.handler_cs & 3) == 0;
  };
  const auto faulted = [&](uint64_t number, uint64_t address, uint64_t code) {
    constexpr uint64_t kPageFault = 14;
    const ProbeException& exception = r.exceptions[number];
    return came(number, kPageFault) && exception.address == address && exception.code == code;
  };
  constexpr uint64_t kWrite = 2;
  constexpr uint64_t kOfUser = 4;
  constexpr uint64_t kFetch = 16;
  constexpr uint64_t kProtection = 1;

  Ring3Behaviours b;
  b.start = r.step > 0 ? Seen::kYes : Seen::kNo;
  b.syscall = seen(STEP_SYSCALL, (r.syscall_cs & 3) == 3 && r.syscall_rcx == at(hmvm_probe_after_syscall) &&
                                     (r.syscall_r11 & PROBE_FLAG_DIRECTION) != 0 &&
                                     (r.syscall_flags & PROBE_SYSCALL_MASK) == 0);
  b.upper_half =
      seen(STEP_HIGH_HALF, r.high_runs == 3 && std::ranges::all_of(r.high_values, [](uint64_t value) {
                             return value == PROBE_CODE_VALUE;
                           }));
  b.invalid_opcode = seen(STEP_EXCEPTIONS, came(EXPECT_UNDEFINED, 6));
  b.divide_error = seen(STEP_EXCEPTIONS, came(EXPECT_DIVIDE, 0));
  b.general_protection = seen(STEP_EXCEPTIONS, came(EXPECT_PRIVILEGED, 13) && came(EXPECT_PORT, 13) &&
                                                   came(EXPECT_NOT_CANONICAL, 13));
  b.page_fault = seen(STEP_EXCEPTIONS, faulted(EXPECT_UNMAPPED, PROBE_BASE + PROBE_UNMAPPED, kOfUser));
  b.single_step = seen(STEP_SINGLE_STEP, came(EXPECT_SINGLE_STEP, 1) && r.exceptions[EXPECT_SINGLE_STEP].at ==
                                                                            at(hmvm_probe_single_step_end));
  b.iret = seen(STEP_IRET, (r.iret_cs & 3) == 3);
  constexpr uint64_t kSupervisor = PROBE_BASE + PROBE_SUPERVISOR;
  constexpr uint64_t kRefused = kProtection | kOfUser;
  b.supervisor_pages = seen(
      STEP_SUPERVISOR, faulted(EXPECT_SUPERVISOR_READ, kSupervisor, kRefused) &&
                           faulted(EXPECT_SUPERVISOR_WRITE, kSupervisor, kRefused | kWrite) &&
                           faulted(EXPECT_SUPERVISOR_EXECUTE, kSupervisor, kRefused | kFetch) &&
                           faulted(EXPECT_LARGE_READ, PROBE_BASE + PROBE_LARGE + PROBE_FRAMES, kRefused));
  b.read_only_pages =
      seen(STEP_READ_ONLY, faulted(EXPECT_READ_ONLY, PROBE_BASE + PROBE_READ_ONLY, kRefused | kWrite));
  constexpr uint64_t kNoExecute[] = {PROBE_BASE + PROBE_NO_EXECUTE, PROBE_NO_EXECUTE_LEVEL2,
                                     PROBE_NO_EXECUTE_LEVEL3, PROBE_NO_EXECUTE_LEVEL4};
  bool no_execute = true;
  for (size_t i = 0; i < std::size(kNoExecute); ++i) {
    no_execute = no_execute && r.no_execute_values[i] == PROBE_CODE_VALUE &&
                 faulted(EXPECT_NO_EXECUTE + i, kNoExecute[i], kRefused | kFetch);
  }
  b.no_execute = seen(STEP_NO_EXECUTE, no_execute);
  b.break_gate = seen(STEP_BREAK_GATE, r.gate_done == 1 && (r.gate_cs & 3) == 0);
  b.table_updates =
      seen(STEP_SHADOW, r.target_first == ProbeMachine::kTargetFirst &&
                            r.target_second == ProbeMachine::kTargetSecond &&
                            faulted(EXPECT_TARGET_GONE, PROBE_BASE + PROBE_TARGET, kOfUser) &&
                            r.target_back == ProbeMachine::kTargetFirst &&
                            faulted(EXPECT_TARGET_READ_ONLY, PROBE_BASE + PROBE_TARGET, kRefused | kWrite));
  constexpr uint64_t kAccessed = 0x20;
  constexpr uint64_t kDirty = 0x40;
  b.accessed_dirty = seen(STEP_SHADOW, (r.entry_read & (kAccessed | kDirty)) == kAccessed &&
                                           (r.entry_written & (kAccessed | kDirty)) == (kAccessed | kDirty));
  b.frames = seen(STEP_FRAMES, r.frame == 2);
  b.views = seen(STEP_VIEWS, r.view_b_value == ProbeMachine::kTargetSecond && r.view_b_gate == 2);
  b.segment_bases = seen(
      STEP_BASES, r.fs_base == PROBE_FS_BASE && r.gs_base == PROBE_GS_BASE && (r.step < STEP_EXIT || bases_));
  b.xcr0 = seen(STEP_XCR0, r.xcr0 != 0 && r.xcr0 == xcr0_);
  b.exits = seen(STEP_EXIT, registers_ && r.answer == PROBE_STATE_ANSWER);
  const auto kept = [&](const uint64_t(&registers)[4]) {
    return (xcr0_ & kAvx) == 0 || std::ranges::equal(registers, r.avx_pattern);
  };
  b.vector_state =
      seen(STEP_EXIT, xsave_ && kept(r.avx_after_exit) && (r.step < STEP_DONE || kept(r.avx_after_kick)));
  b.mmio = seen(STEP_MMIO, mmio_stored_ && r.mmio_loaded == PROBE_MMIO_LOADED);
  b.ioeventfd = seen(STEP_MMIO, events_ == 1 && !mmio_event_exited_);
  // The rate is measured over a few milliseconds: to a hundredth it is sure.
  const double khz = static_cast<double>(end_.tsc - start_.tsc) * 1e6 /
                     static_cast<double>(std::max<int64_t>(end_.monotonic_ns - start_.monotonic_ns, 1));
  b.tsc = seen(STEP_TIME,
               r.tsc >= start_.tsc && r.tsc <= end_.tsc && tsc_khz_ > khz * 0.99 && tsc_khz_ < khz * 1.01);
  b.kick = seen(STEP_KICK, kicked_);
  b.end = r.step >= STEP_DONE ? Seen::kYes : Seen::kNo;
  return b;
}

}  // namespace

Result<Ring3Behaviours> ProbeRing3(const Kvm& kvm, const Vm& vm, const ProbeMachine& machine,
                                   uint32_t index) {
  HMVM_TRY_ASSIGN(Vcpu vcpu, vm.CreateVcpu(index));
  HMVM_TRY_ASSIGN(const auto cpuid, kvm.SupportedCpuid());
  HMVM_TRY(vcpu.SetCpuid(cpuid));
  const uint64_t xcr0 = HostHasXsave() ? HostXcr0() : 0;
  if (!machine.SetState(vcpu, /*ring3=*/true).has_value() || (xcr0 != 0 && !vcpu.SetXcr0(xcr0).has_value())) {
    return Ring3Behaviours{.start = Seen::kNo};
  }
  Run run(vcpu, machine, xcr0);
  HMVM_TRY(run.ToEnd(vm));
  return run.Judge();
}

}  // namespace hmvm
