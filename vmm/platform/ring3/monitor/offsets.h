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

// Where the guest user's two gates end: `rip` behind their int3 (the user's version of the entry page).
#define USER_SYSCALL_GATE_END 0x01
#define USER_INJECT_GATE 0x10

// struct Cpu
#define CPU_ENTER_ROOT 0x000
#define CPU_GATE_ROOT 0x008
#define CPU_GATE_FRAME 0x010
#define CPU_KERNEL_RAX 0x018
#define CPU_KERNEL_ROOT 0x020
#define CPU_USER_ROOT 0x028
#define CPU_KERNEL_SP 0x030
#define CPU_VCPU_INFO 0x038
#define CPU_KERNEL_GS 0x040
#define CPU_USER_GS 0x048
#define CPU_SYSCALL_ENTRY 0x050
#define CPU_EVENT_ENTRY 0x058
#define CPU_PAGE_FAULT_ENTRY 0x060
#define CPU_USER_MODE 0x068
#define CPU_HYPERCALL_SP 0x070
#define CPU_DELIVER_SP 0x078
#define CPU_DELIVER_TARGET 0x080
#define CPU_LOAD_ROOT_END 0x088
#define CPU_ON_HYPERCALL 0x090
#define CPU_ON_ENTER 0x098
#define CPU_ON_BREAK 0x0a0
#define CPU_ON_INJECT 0x0a8
#define CPU_ON_BAD_RETURN 0x0b0
#define CPU_FAULT_ADDRESS 0x0b8
#define CPU_ENTER_FRAME 0x0c0
#define CPU_FAULT_USER_FRAME 0x0e8
#define CPU_FAULT_KERNEL_FRAME 0x110
#define CPU_HOME_FRAME 0x138
#define CPU_USER_FRAME 0x168
#define CPU_COUNT_SYSCALLS 0x198
#define CPU_COUNT_FAULTS 0x1a0
#define CPU_COUNT_EVENTS 0x1a8

// The frame the CPU pushed for an exception, at the end of the Cpu page.
#define EXCEPTION_ERROR 0xfd0
#define EXCEPTION_RIP 0xfd8
#define EXCEPTION_CS 0xfe0
#define EXCEPTION_RFLAGS 0xfe8
#define EXCEPTION_RSP 0xff0

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
