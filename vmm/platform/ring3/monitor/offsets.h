// Numbers that the monitor's assembler shares with C++ (layout.h asserts each against its struct).
#pragma once

// The upper half of every address in the monitor's level-4 slot (kMonitorBase in layout.h).
#define MONITOR_ADDRESS_HIGH 0xffff8080

// Pages of a vCPU block (layout.h).
#define BLOCK_OFFSET 0x10000
#define BLOCK_BYTES 0x10000
#define BLOCK_STUBS 0x1000
#define BLOCK_CPU 0x3000
#define BLOCK_ENTRY 0x4000
#define BLOCK_STACK_TOP 0x8000
#define BLOCK_EXCEPTIONS 0x9000
#define BLOCK_USER_EXCEPTIONS 0xa000

// The user's version of the entry page: where the two gates end (`rip` behind their int3), and the last two
// instructions of a system call.
#define USER_SYSCALL_GATE_END 0x01
#define USER_INJECT_GATE 0x10
#define USER_CONTINUE 0x20
#define USER_CONTINUE_END 0x28
// What r11 holds after a system call: flags that Linux's user programs have most of the time.
#define USER_CONTINUE_R11 0x246

// The #BP gate of the kernel's IDT.
#define IDT_BREAKPOINT 0x30

// struct Cpu
#define CPU_KERNEL_ROOT 0x000
#define CPU_USER_ROOT 0x008
#define CPU_KERNEL_SP 0x010
#define CPU_VCPU_INFO 0x018
#define CPU_KERNEL_GS 0x020
#define CPU_USER_GS 0x028
#define CPU_SYSCALL_ENTRY 0x030
#define CPU_EVENT_ENTRY 0x038
#define CPU_PAGE_FAULT_ENTRY 0x040
#define CPU_USER_MODE 0x048
#define CPU_HYPERCALL_SP 0x050
#define CPU_DELIVER_SP 0x058
#define CPU_DELIVER_TARGET 0x060
#define CPU_GATE_CLOSED 0x068
#define CPU_GATE_RETURN 0x070
#define CPU_GATE_RETURN_FULL 0x078
#define CPU_ON_HYPERCALL 0x080
#define CPU_ON_ENTER 0x088
#define CPU_ON_INJECT 0x090
#define CPU_ON_BAD_RETURN 0x098
#define CPU_FAULT_ADDRESS 0x0a0
#define CPU_COUNT_SYSCALLS 0x0a8
#define CPU_COUNT_FAULTS 0x0b0
#define CPU_COUNT_EVENTS 0x0b8
#define CPU_NMI_MASKED 0x0c0

// struct Exceptions
#define ENTER_ROOT 0x000
#define KERNEL_RAX 0x008
#define FAULT_KERNEL_FRAME 0x010
#define BREAKPOINT_RIP 0xe18
#define BREAKPOINT_RFLAGS 0xe28
#define BREAKPOINT_RSP 0xe30
#define BREAKPOINT_STACK 0xe40
#define FAULT_ERROR 0xe50
#define FAULT_RIP 0xe58
#define FAULT_CS 0xe60
#define FAULT_RFLAGS 0xe68
#define FAULT_RSP 0xe70
#define FAULT_STACK 0xe80
#define RETURN_RIP 0xe98
#define RETURN_RFLAGS 0xea8
#define RETURN_RSP 0xeb0
#define RETURN_STACK 0xec0
#define FULL_R11 0xed8
#define FULL_RIP 0xee0
#define FULL_RFLAGS 0xef0
#define FULL_RSP 0xef8
#define FULL_STACK 0xf00
#define OTHER_ERROR 0xf90
#define OTHER_RIP 0xf98
#define OTHER_RFLAGS 0xfa8
#define OTHER_RSP 0xfb0
#define OTHER_STACK 0xfc0

// struct vcpu_info of Xen
#define VCPU_INFO_PENDING 0
#define VCPU_INFO_MASK 1
#define VCPU_INFO_CR2 0x10

#define HYPERCALL_IRET 23

// The selectors that the CPU shows at CPL 3 here.
#define USER_CS 0x33
#define USER_SS 0x2b
// What a user may have in rflags: CF PF AF ZF SF TF DF OF RF AC ID; never IOPL, NT, VM. To the CPU
// interrupts are always on: events have their own mask.
#define USER_FLAGS 0x250dd5
#define ALWAYS_FLAGS 0x202
#define TRAP_FLAG 0x100
