// What the monitor (monitor/, guest side) and the VMM share: where everything lies and the structs in it.
// Compiled into both, so it includes nothing of the host.
//
// The platform's window of guest-physical memory is mapped at kMonitorBase with the same offsets in every
// page-table root, in two views (docs/ring3.md): the kernel's, and the user's, where nothing of it is
// accessible at CPL 3 but one page full of int3.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/platform/ring3/monitor/offsets.h"

namespace hmvm::ring3 {

inline constexpr uint64_t kPageSize = 4096;

// Level-4 slots 256-271 are the hypervisor's in Xen's address map; we use two.
inline constexpr uint64_t kMonitorSlot = 257;
inline constexpr uint64_t kMonitorBase = 0xffff808000000000;
inline constexpr uint64_t kDirectMapSlot = 258;
inline constexpr uint64_t kDirectMapBase = 0xffff810000000000;  // guest RAM, kernel view only
inline constexpr uint64_t kFirstKernelSlot = 272;               // the kernel's own half begins here

// Offsets in the window.
inline constexpr uint64_t kBlockOffset = BLOCK_OFFSET;  // one block a vCPU; the image has the first
inline constexpr uint64_t kBlockBytes = BLOCK_BYTES;
inline constexpr uint32_t kMaxVcpus = 8;
inline constexpr uint64_t kSharedInfoOffset = 0x200000;
inline constexpr uint64_t kTablesOffset = 0x210000;  // the page tables of both views and of the direct map
inline constexpr uint64_t kTablesEnd = 0x400000;
// Ring 0's pages of the user's view: what there is not as in the kernel's, and copies, at the block's
// offsets.
inline constexpr uint64_t kUserRing0Offset = 0x400000;
inline constexpr uint64_t kM2pOffset = 0x600000;  // uint64_t a frame; the page types follow it
inline constexpr uint64_t kWindowMax = 0x1fe00000;
// Where ring 0 sees all that it touches, as one large page, to save KVM a level of each walk: in the kernel's
// view the window's first 2 MiB, in the user's those at kUserRing0Offset. Ring 3 can't reach it.
inline constexpr uint64_t kRing0Base = kMonitorBase + kWindowMax;
inline constexpr uint64_t kRing0Bytes = 0x200000;
static_assert(kBlockOffset + kMaxVcpus * kBlockBytes <= kSharedInfoOffset);

// Page of each part in a vCPU block, as an offset; of ring 0's parts also from kUserRing0Offset and
// kRing0Base.
inline constexpr uint64_t kBlockIdt = 0x0000;
inline constexpr uint64_t kBlockStubs = BLOCK_STUBS;
inline constexpr uint64_t kBlockGdt = 0x2000;  // and the TSS, at kTssInGdtPage
inline constexpr uint64_t kBlockCpu = BLOCK_CPU;
inline constexpr uint64_t kBlockEntry = BLOCK_ENTRY;
inline constexpr uint64_t kBlockEntryUser = 0x5000;
inline constexpr uint64_t kBlockStack = 0x6000;
inline constexpr uint64_t kBlockStackTop = BLOCK_STACK_TOP;
// Each view has its own struct Exceptions at kBlockExceptions; the kernel reaches the user's one, too, at
// kBlockUserExceptions.
inline constexpr uint64_t kBlockExceptions = BLOCK_EXCEPTIONS;
inline constexpr uint64_t kBlockUserExceptions = BLOCK_USER_EXCEPTIONS;
inline constexpr uint64_t kTssInGdtPage = 0x800;

// The selectors that the CPU shows at CPL 3 here, and what Xen shows a guest kernel.
inline constexpr uint16_t kUserCs = USER_CS;
inline constexpr uint16_t kUserSs = USER_SS;
inline constexpr uint16_t kXenKernelCs = 0xe030;
inline constexpr uint64_t kSelectorInTable =
    0xfffc;  // of a selector, what an error code has: no privilege level

struct InterruptFrame {
  uint64_t rip;
  uint64_t cs;
  uint64_t rflags;
  uint64_t rsp;
  uint64_t ss;
};

// The page that the exceptions of one view are pushed to, each kind at a place of its own (TSS: IST 1-4 and
// rsp0). A stub that loads cr3 ends with an iretq from the same place in the other view's page:
//   breakpoint, fault  the user's: what the CPU pushed. The kernel's: constant, to `enter` and `fault_user`.
//   gate, full         the kernel's: what the gate's int3 pushed. The user's: where the user goes on.
struct Exceptions {
  uint64_t
      enter_root;  // the user's: the kernel's root, and the interrupted rax from an entry stub to its end
  uint64_t kernel_rax;                // the kernel's
  InterruptFrame fault_kernel_frame;  // the kernel's: constant, to `fault_kernel`
  uint8_t unused0[BREAKPOINT_RIP - 0x38];
  InterruptFrame breakpoint;
  uint8_t unused1[FAULT_ERROR - BREAKPOINT_STACK];
  union {
    struct {
      uint64_t fault_error;
      InterruptFrame fault;
    };
    InterruptFrame fault_lead;  // in the kernel's: from where the error code is, as a stub has rsp there
  };
  uint8_t unused2[RETURN_RIP - FAULT_STACK];
  InterruptFrame gate;
  uint8_t unused3[FULL_R11 - RETURN_STACK];
  uint64_t full_r11;  // popped first; so `full` is one word higher than what the int3 pushes
  InterruptFrame full;
  uint8_t unused4[OTHER_ERROR - 0xf08];
  uint64_t error;  // rsp0: all other exceptions, of either view
  InterruptFrame other;
  uint8_t unused5[kPageSize - OTHER_STACK];
};
static_assert(sizeof(Exceptions) == kPageSize);

struct Trap {
  uint64_t handler;  // 0: none
  uint64_t masks_events;
};
inline constexpr uint32_t kVectors = 32;
inline constexpr uint32_t kNmi = 2;
inline constexpr uint32_t kInjectEvent = kVectors;  // as a vector: the event upcall

// The CPU pushes one; entry.S knows the same vectors.
constexpr bool HasErrorCode(uint64_t vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

// What the VMM wants delivered: it sets rip to one of the inject gates and leaves here where rip was.
struct Injection {
  uint64_t armed;
  uint64_t vector;
  uint64_t error;
  uint64_t rip;
  uint64_t rflags;
  uint64_t rsp;  // of a user; the kernel's stays where it is
};

// A hypercall that the VMM is to handle.
struct VmmCall {
  uint64_t number;
  uint64_t arguments[5];
  int64_t result;
};

inline constexpr uint32_t kHypercalls = 64;

// The data of one vCPU: one page. The guest kernel can write to it, so the VMM believes nothing in it.
struct Cpu {
  uint64_t kernel_root;  // guest-physical
  uint64_t user_root;
  uint64_t kernel_sp;  // HYPERVISOR_stack_switch
  uint64_t vcpu_info;  // address
  uint64_t kernel_gs;
  uint64_t user_gs;
  uint64_t syscall_entry;  // of the kernel
  uint64_t event_entry;
  uint64_t page_fault_entry;
  uint64_t user_mode;     // 1 while the user's page tables are loaded
  uint64_t hypercall_sp;  // the kernel's rsp during a hypercall, else 0
  uint64_t deliver_sp;
  uint64_t deliver_target;
  // The first half of the #BP gate in the kernel's IDT, by where an int3 is to lead: gate_closed at all times
  // but between the monitor's choice of another and its int3.
  uint64_t gate_closed;       // the exit stub: the int3 is the kernel's own
  uint64_t gate_return;       // stub_return
  uint64_t gate_return_full;  // stub_return_full
  uint64_t on_hypercall;
  uint64_t on_enter;
  uint64_t on_inject;
  uint64_t on_bad_return;
  uint64_t fault_address;
  uint64_t count_syscalls;
  uint64_t count_faults;
  uint64_t count_events;
  uint64_t nmi_masked;  // from an NMI to the next HYPERVISOR_iret
  // From here on for C++ alone.
  uint64_t gate_load;        // stub_load
  uint64_t breakpoint_gate;  // address of that gate
  uint64_t flush;            // a change of cr3 or a flush is due at the end of the hypercall
  uint64_t low_frames;       // RAM is frames [0, low_frames) and [high_start, frames)
  uint64_t high_start;
  uint64_t frames;
  uint64_t page_types;   // address of uint8_t[frames]
  uint64_t direct_map;   // address of guest RAM
  uint64_t kernel_view;  // level-4 entries of the monitor's slots
  uint64_t kernel_direct_map;
  uint64_t user_view;
  uint64_t count_page_table_updates;
  uint64_t count_flushes;
  uint64_t count_remote_flushes;
  uint64_t vcpu;   // its number
  uint64_t vcpus;  // how many there are
  // Bit by bit, the vCPUs whose translations are to be flushed at the end of the hypercall.
  uint64_t flush_vcpus;
  // Remote flushes: who asks sets flush_requested and then, if the other runs, has the VMM interrupt it; the
  // VMM sets `running` before KVM_RUN and then looks at flush_requested.
  uint64_t running;
  uint64_t flush_requested;
  Injection injection;
  VmmCall call;
  Trap traps[kVectors];
  uint64_t count_hypercalls[kHypercalls];
};
static_assert(sizeof(Cpu) <= kPageSize);

#define HMVM_RING3_AT(type, member, offset) static_assert(offsetof(type, member) == (offset))
HMVM_RING3_AT(Cpu, kernel_root, CPU_KERNEL_ROOT);
HMVM_RING3_AT(Cpu, user_root, CPU_USER_ROOT);
HMVM_RING3_AT(Cpu, kernel_sp, CPU_KERNEL_SP);
HMVM_RING3_AT(Cpu, vcpu_info, CPU_VCPU_INFO);
HMVM_RING3_AT(Cpu, kernel_gs, CPU_KERNEL_GS);
HMVM_RING3_AT(Cpu, user_gs, CPU_USER_GS);
HMVM_RING3_AT(Cpu, syscall_entry, CPU_SYSCALL_ENTRY);
HMVM_RING3_AT(Cpu, event_entry, CPU_EVENT_ENTRY);
HMVM_RING3_AT(Cpu, page_fault_entry, CPU_PAGE_FAULT_ENTRY);
HMVM_RING3_AT(Cpu, user_mode, CPU_USER_MODE);
HMVM_RING3_AT(Cpu, hypercall_sp, CPU_HYPERCALL_SP);
HMVM_RING3_AT(Cpu, deliver_sp, CPU_DELIVER_SP);
HMVM_RING3_AT(Cpu, deliver_target, CPU_DELIVER_TARGET);
HMVM_RING3_AT(Cpu, gate_closed, CPU_GATE_CLOSED);
HMVM_RING3_AT(Cpu, gate_return, CPU_GATE_RETURN);
HMVM_RING3_AT(Cpu, gate_return_full, CPU_GATE_RETURN_FULL);
HMVM_RING3_AT(Cpu, on_hypercall, CPU_ON_HYPERCALL);
HMVM_RING3_AT(Cpu, on_enter, CPU_ON_ENTER);
HMVM_RING3_AT(Cpu, on_inject, CPU_ON_INJECT);
HMVM_RING3_AT(Cpu, on_bad_return, CPU_ON_BAD_RETURN);
HMVM_RING3_AT(Cpu, fault_address, CPU_FAULT_ADDRESS);
HMVM_RING3_AT(Cpu, count_syscalls, CPU_COUNT_SYSCALLS);
HMVM_RING3_AT(Cpu, count_faults, CPU_COUNT_FAULTS);
HMVM_RING3_AT(Cpu, count_events, CPU_COUNT_EVENTS);
HMVM_RING3_AT(Cpu, nmi_masked, CPU_NMI_MASKED);
HMVM_RING3_AT(Exceptions, enter_root, ENTER_ROOT);
HMVM_RING3_AT(Exceptions, kernel_rax, KERNEL_RAX);
HMVM_RING3_AT(Exceptions, fault_kernel_frame, FAULT_KERNEL_FRAME);
HMVM_RING3_AT(Exceptions, breakpoint.rip, BREAKPOINT_RIP);
HMVM_RING3_AT(Exceptions, breakpoint.rflags, BREAKPOINT_RFLAGS);
HMVM_RING3_AT(Exceptions, breakpoint.rsp, BREAKPOINT_RSP);
HMVM_RING3_AT(Exceptions, fault_error, FAULT_ERROR);
HMVM_RING3_AT(Exceptions, fault.rip, FAULT_RIP);
HMVM_RING3_AT(Exceptions, fault.cs, FAULT_CS);
HMVM_RING3_AT(Exceptions, fault.rflags, FAULT_RFLAGS);
HMVM_RING3_AT(Exceptions, fault.rsp, FAULT_RSP);
HMVM_RING3_AT(Exceptions, gate.rip, RETURN_RIP);
HMVM_RING3_AT(Exceptions, gate.rflags, RETURN_RFLAGS);
HMVM_RING3_AT(Exceptions, gate.rsp, RETURN_RSP);
HMVM_RING3_AT(Exceptions, full_r11, FULL_R11);
HMVM_RING3_AT(Exceptions, full.rip, FULL_RIP);
HMVM_RING3_AT(Exceptions, full.rflags, FULL_RFLAGS);
HMVM_RING3_AT(Exceptions, full.rsp, FULL_RSP);
HMVM_RING3_AT(Exceptions, error, OTHER_ERROR);
HMVM_RING3_AT(Exceptions, other.rip, OTHER_RIP);
HMVM_RING3_AT(Exceptions, other.rflags, OTHER_RFLAGS);
HMVM_RING3_AT(Exceptions, other.rsp, OTHER_RSP);
#undef HMVM_RING3_AT

// At the start of the monitor's image. Addresses as linked, for the first vCPU's block.
struct MonitorHeader {
  uint64_t magic;
  uint64_t stub_enter, stub_fault_user, stub_fault_kernel, stub_load, stub_return, stub_return_end;
  uint64_t stub_return_full, stub_return_full_end, stub_exits;
  uint64_t entry_start, hypercall_call, enter, fault_user, fault_kernel, inject_kernel;
  uint64_t hypercall_return, hypercall_return_end, kernel_return, kernel_return_end;
  uint64_t user_return, user_return_committed, user_return_end;
  uint64_t user_return_full, user_return_full_committed, user_return_full_end;
  uint64_t fault_monitor, monitor_dead, call_vmm;
  uint64_t on_hypercall, on_enter, on_inject, on_bad_return;
};
inline constexpr uint64_t kMonitorMagic = 0x336e6f4d6d76686d;
inline constexpr uint64_t kExitStubBytes = 16;

}  // namespace hmvm::ring3
