// The monitor's C++: hypercalls that need no exit, and the frames of traps and events. Runs natively at CPL 3
// under the guest kernel's page tables, on the vCPU's monitor stack. A page fault in here ends the hypercall
// with -EFAULT (entry.S, fault_monitor), so pointers of the guest's are followed without ado: they lead to
// what the guest kernel could reach by itself.
#include "vmm/platform/ring3/layout.h"
#include "vmm/platform/ring3/monitor/mmu.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"
#include "vmm/platform/ring3/read_once.h"

namespace hmvm::ring3 {
namespace {

struct SavedRegisters {
  uint64_t rax, rdi, rsi, rdx, r8, r9, r10, r11, rcx;
};

extern "C" void call_vmm();

void WriteGsBase(uint64_t base) { asm volatile("wrgsbase %0" : : "r"(base)); }
void WriteFsBase(uint64_t base) { asm volatile("wrfsbase %0" : : "r"(base)); }

int64_t CallVmm(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  cpu.call.number = number;
  cpu.call.arguments[0] = a;
  cpu.call.arguments[1] = b;
  cpu.call.arguments[2] = c;
  cpu.call.arguments[3] = d;
  cpu.call.arguments[4] = e;
  asm volatile("call call_vmm" : : : "memory");
  return *const_cast<volatile int64_t*>(&cpu.call.result);
}

// ---- hypercalls ----

bool IsCanonical(uint64_t address) {
  return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address;
}

int64_t SetSegmentBase(Cpu& cpu, uint64_t which, uint64_t base) {
  if (which != kSegmentGsUserSelector && !IsCanonical(base)) return kMonitorEinval;
  switch (which) {
    case kSegmentFs:
      WriteFsBase(base);
      return 0;
    case kSegmentGsUser:
      cpu.user_gs = base;
      return 0;
    case kSegmentGsKernel:
      cpu.kernel_gs = base;
      WriteGsBase(base);
      return 0;
    case kSegmentGsUserSelector:
      cpu.user_gs = 0;  // no selector but null can be loaded
      return 0;
    default:
      return kMonitorEinval;
  }
}

int64_t Dispatch(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);

int64_t Multicall(Cpu& cpu, MulticallEntry* calls, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    MulticallEntry& call = calls[i];
    const uint64_t number = ReadOnce(call.number);
    if (number == kHypercallMulticall) {
      call.result = kMonitorEinval;
      continue;
    }
    call.result = Dispatch(cpu, number, call.arguments[0], call.arguments[1], call.arguments[2],
                           call.arguments[3], call.arguments[4]);
  }
  return 0;
}

int64_t Dispatch(Cpu& cpu, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  if (number < kHypercalls) ++cpu.count_hypercalls[number];
  switch (number) {
    case kHypercallMmuUpdate:
      return MmuUpdate(cpu, reinterpret_cast<const uint64_t*>(a), b, reinterpret_cast<uint32_t*>(c));
    case kHypercallStackSwitch:
      cpu.kernel_sp = b;
      return 0;
    case kHypercallFpuTaskswitch:
    case kHypercallSetGdt:
    case kHypercallUpdateDescriptor:
      // CR0.TS is never set as Linux switches FPU state eagerly; descriptor tables: see kMmuSetLdt.
      return 0;
    case kHypercallMulticall:
      return Multicall(cpu, reinterpret_cast<MulticallEntry*>(a), b);
    case kHypercallUpdateVaMapping:
      return UpdateVaMapping(cpu, a, b, c);
    case kHypercallSetSegmentBase:
      return SetSegmentBase(cpu, a, b);
    case kHypercallMmuextOp:
      return MmuExtended(cpu, reinterpret_cast<const MmuExtendedOperation*>(a), b,
                         reinterpret_cast<uint32_t*>(c));
    default:
      return CallVmm(cpu, number, a, b, c, d, e);
  }
}

Cpu& OtherCpu(Cpu& cpu, uint64_t vcpu) {
  return *reinterpret_cast<Cpu*>(reinterpret_cast<uint64_t>(&cpu) + (vcpu - cpu.vcpu) * kBlockBytes);
}

// Each of the others flushes before it executes the guest again. One that does not run finds the request when
// it does; one that runs has left the guest when the VMM is back from interrupting it.
void FlushVcpus(Cpu& cpu) {
  const uint64_t vcpus = cpu.flush_vcpus;
  cpu.flush_vcpus = 0;
  uint64_t running = 0;
  for (uint64_t vcpu = 0; vcpu < cpu.vcpus; ++vcpu) {
    if ((vcpus >> vcpu & 1) == 0) continue;
    if (vcpu == cpu.vcpu) {
      cpu.flush = 1;
      continue;
    }
    Cpu& other = OtherCpu(cpu, vcpu);
    __atomic_store_n(&other.flush_requested, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&other.running, __ATOMIC_SEQ_CST) != 0) running |= uint64_t{1} << vcpu;
  }
  if (running == 0) return;
  ++cpu.count_remote_flushes;
  CallVmm(cpu, kHypercallInterruptVcpus, running, 0, 0, 0, 0);
}

void FlushIfDue(Cpu& cpu) {
  if (cpu.flush_vcpus != 0) FlushVcpus(cpu);
  if (cpu.flush == 0) return;
  cpu.flush = 0;
  ++cpu.count_flushes;
  volatile uint64_t* const gate = reinterpret_cast<volatile uint64_t*>(cpu.breakpoint_gate);
  *gate = cpu.gate_load;
  register uint64_t root asm("r11") = cpu.kernel_root;
  asm volatile("int3" : : "r"(root) : "memory");  // stub_load
  *gate = cpu.gate_closed;
}

// ---- traps and events ----

struct Interrupted {
  bool user;
  uint64_t rip;
  uint64_t rflags;
  uint64_t rsp;
};

// Builds the frame that Xen would on the kernel's stack; entry.S goes on at deliver_target with it.
void Deliver(Cpu& cpu, const SavedRegisters& registers, const Interrupted& from, uint64_t vector,
             uint64_t error) {
  constexpr uint64_t kInterruptFlag = 0x200;
  uint8_t* const vcpu_info = reinterpret_cast<uint8_t*>(cpu.vcpu_info);
  const bool masked = vcpu_info[VCPU_INFO_MASK] != 0;
  uint64_t* sp = reinterpret_cast<uint64_t*>(from.user ? cpu.kernel_sp : from.rsp & ~15ULL);
  *--sp = kUserSs;
  *--sp = from.rsp;
  *--sp = (from.rflags & ~kInterruptFlag) | (masked ? 0 : kInterruptFlag);
  *--sp = from.user ? kUserCs : kXenKernelCs;
  *--sp = from.rip;
  if (HasErrorCode(vector)) *--sp = error;
  *--sp = registers.r11;
  *--sp = registers.rcx;
  cpu.deliver_sp = reinterpret_cast<uint64_t>(sp);
  if (vector == kInjectEvent) {
    ++cpu.count_events;
    vcpu_info[VCPU_INFO_MASK] = 1;
    cpu.deliver_target = cpu.event_entry;
    return;
  }
  if (vector == kNmi) cpu.nmi_masked = 1;
  const Trap& trap = cpu.traps[vector % kVectors];
  if (trap.masks_events != 0) vcpu_info[VCPU_INFO_MASK] = 1;
  cpu.deliver_target = trap.handler;
}

constexpr uint64_t kBreakpoint = 3;
constexpr uint64_t kGeneralProtection = 13;

}  // namespace

uint64_t LoadWord(uint64_t address) { return ReadOnce(*reinterpret_cast<const uint64_t*>(address)); }

extern "C" {

void MonitorHypercall(Cpu* cpu, SavedRegisters* registers) {
  const int64_t result = Dispatch(*cpu, registers->rax & 0xffffffff, registers->rdi, registers->rsi,
                                  registers->rdx, registers->r10, registers->r8);
  FlushIfDue(*cpu);
  registers->rax = static_cast<uint64_t>(result);
}

// From the user's view, through an int3 that is no system call: the VMM injects, or the int3 is the
// program's. Or through any exception of a program in 32-bit code: no program may be there.
void MonitorEnter(Cpu* cpu, SavedRegisters* registers, const InterruptFrame* pushed) {
  const uint64_t page = (reinterpret_cast<uint64_t>(cpu) & ~(BLOCK_BYTES - 1ULL)) + BLOCK_ENTRY;
  const Injection& injection = cpu->injection;
  // Wherever this came from, an injection that has not led here by now never will.
  const bool armed = injection.armed != 0;
  cpu->injection.armed = 0;
  const Interrupted at = {true, pushed->rip, pushed->rflags, pushed->rsp};
  if (pushed->cs != kUserCs) {
    Deliver(*cpu, *registers, at, kGeneralProtection, pushed->cs & kSelectorInTable);
    return;
  }
  if (armed && pushed->rip == page + USER_INJECT_GATE + 1) {
    uint64_t rip = injection.rip;
    if (rip - page >= USER_CONTINUE && rip - page < USER_CONTINUE_END) {
      rip = registers->rcx;
      registers->r11 = USER_CONTINUE_R11;
    }
    Deliver(*cpu, *registers, {true, rip, injection.rflags, injection.rsp}, injection.vector,
            injection.error);
    return;
  }
  Deliver(*cpu, *registers, at, kBreakpoint, 0);
}

void MonitorInject(Cpu* cpu, SavedRegisters* registers) {
  Injection& injection = cpu->injection;
  injection.armed = 0;
  Deliver(*cpu, *registers, {false, injection.rip, injection.rflags, cpu->deliver_sp}, injection.vector,
          injection.error);
}

// HYPERVISOR_iret to an address or with selectors that no user can have: a #GP of the user's there.
void MonitorBadReturn(Cpu* cpu, SavedRegisters* registers) {
  const uint64_t* const frame = reinterpret_cast<const uint64_t*>(cpu->deliver_sp);
  registers->rax = frame[0];
  registers->r11 = frame[1];
  registers->rcx = frame[2];
  const uint64_t cs = frame[5], ss = frame[8];
  const Interrupted from = {true, frame[4], frame[6], frame[7]};
  reinterpret_cast<uint8_t*>(cpu->vcpu_info)[VCPU_INFO_MASK] = 0;
  const uint64_t error = cs != kUserCs ? cs & kSelectorInTable : ss != kUserSs ? ss & kSelectorInTable : 0;
  Deliver(*cpu, *registers, from, kGeneralProtection, error);
}

}  // extern "C"

}  // namespace hmvm::ring3
