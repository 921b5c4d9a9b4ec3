// Numbers that the probe's guest code (probe_code.S) shares with C++ (probe_machine.h asserts each against
// its struct).
#pragma once

// The probe's pages lie in the level-4 slot of the ring3 monitor, one after the other, and in guest-physical
// memory from PROBE_FRAMES on in the same order. S: ring 0 only, U: ring 3 too.
#define PROBE_BASE 0xffff808000000000
#define PROBE_FRAMES 0x20000
#define PROBE_STUBS 0x0000       // S: code of ring 0
#define PROBE_PROGRAM 0x1000     // U, read-only: code of ring 3, up to two pages
#define PROBE_RESULTS 0x3000     // U: struct ProbeResults
#define PROBE_STACK 0x4000       // U
#define PROBE_IDT 0x5000         // S: another frame in each view
#define PROBE_GDT 0x6000         // S: and the TSS
#define PROBE_TABLE 0x8000       // U: the level-1 table of the first view, as a kernel at ring 3 has it
#define PROBE_TARGET 0x9000      // U: the page whose entry changes; another frame in each view
#define PROBE_SUPERVISOR 0xa000  // S
#define PROBE_READ_ONLY 0xb000   // U, read-only
#define PROBE_NO_EXECUTE 0xc000  // U, not executable by its level-1 entry
#define PROBE_MMIO 0xd000        // U: no memory behind it
#define PROBE_UNMAPPED 0xe000
#define PROBE_RING0_STACK 0x10000  // S: a page unmapped below it ends a handler that faults for ever
// S: a page of 2 MiB over guest-physical memory from 0 on, in the second view from PROBE_LARGE_SECOND on. In
// it, the stack of int3: what is pushed there in one view is not what iretq finds there in the other.
#define PROBE_LARGE 0x400000
#define PROBE_LARGE_SECOND 0x200000
#define PROBE_FRAME 0x32000

// A page of code and data, not executable by its entry of level 2, 3, 4.
#define PROBE_NO_EXECUTE_LEVEL2 0xffff808000200000
#define PROBE_NO_EXECUTE_LEVEL3 0xffff808040000000
#define PROBE_NO_EXECUTE_LEVEL4 0xffff820000000000
// The same page, executable, in slots of the monitor's and the guest kernel's.
#define PROBE_HIGH_DIRECT_MAP 0xffff810000000000
#define PROBE_HIGH_KERNEL_MAP 0xffff888000000000
#define PROBE_HIGH_KERNEL_IMAGE 0xffffff8000000000
#define PROBE_CODE_VALUE 0x5a  // in that page, at PROBE_CODE_VALUE_AT; at its start `jmp *%rsi`
#define PROBE_CODE_VALUE_AT 0x10

#define PROBE_ROOT_A 0x1000
#define PROBE_ROOT_B 0x2000
#define PROBE_TARGET_FIRST 0x29000
#define PROBE_TARGET_SECOND 0x2f000

// Ports, written to at ring 0 alone.
#define PROBE_PORT_LOOP_START 0x10
#define PROBE_PORT_LOOP_END 0x11
#define PROBE_PORT_CALL 0x20  // ud2: eax is a PROBE_CALL
#define PROBE_PORT_END 0x21   // the program can't go on: it finds itself at ring 0

#define PROBE_CALL_STATE 1  // look at the state of ring 3; edx: return PROBE_STATE_ANSWER
#define PROBE_CALL_SPIN 2   // ring 3 is about to wait for `go`
#define PROBE_CALL_DONE 3
#define PROBE_STATE_ANSWER 0x600df00d

#define PROBE_LOOP_COUNT 500

#define PROBE_FS_BASE 0x123450000
#define PROBE_GS_BASE 0x543210000
#define PROBE_FLAG_DIRECTION 0x400
#define PROBE_SYSCALL_MASK 0x44500  // TF, DF, NT, AC: the ring3 platform's

// MMIO: stores and loads at these offsets of the page.
#define PROBE_MMIO_STORE 0x50
#define PROBE_MMIO_LOAD 0x54
#define PROBE_MMIO_EVENT 0x60
#define PROBE_MMIO_STORED 0x12345678
#define PROBE_MMIO_LOADED 0x1badb002
#define PROBE_MMIO_EVENT_VALUE 1

// Steps of the program, in order.
#define STEP_SYSCALL 1
#define STEP_HIGH_HALF 2
#define STEP_EXCEPTIONS 3
#define STEP_SINGLE_STEP 4
#define STEP_IRET 5
#define STEP_SUPERVISOR 6
#define STEP_READ_ONLY 7
#define STEP_NO_EXECUTE 8
#define STEP_BREAK_GATE 9
#define STEP_SHADOW 10
#define STEP_FRAMES 11
#define STEP_VIEWS 12
#define STEP_BASES 13
#define STEP_XCR0 14
#define STEP_EXIT 15
#define STEP_MMIO 16
#define STEP_TIME 17
#define STEP_KICK 18
#define STEP_DONE 19

// struct ProbeResults
#define RESULT_STEP 0x000
#define RESULT_RECORD 0x008  // address of the ProbeException to fill
#define RESULT_RESUME 0x010  // where the program goes on after an exception
#define RESULT_GATE_ROOT 0x018
#define RESULT_GATE_FRAME 0x020  // rax, rip, cs, rflags, rsp, ss
#define RESULT_GATE_VIEW 0x050   // whose IDT led to the gate: 1, 2
#define RESULT_FRAME 0x058       // 1: int3 leaves through the frame of the view it loads; 2: it did
#define RESULT_GATE_CS 0x060
#define RESULT_GATE_DONE 0x068
#define RESULT_SYSCALL_CS 0x070
#define RESULT_SYSCALL_RCX 0x078
#define RESULT_SYSCALL_R11 0x080
#define RESULT_SYSCALL_FLAGS 0x088  // in the handler
#define RESULT_HIGH_VALUES 0x090    // three of them
#define RESULT_HIGH_RUNS 0x0a8
#define RESULT_IRET_CS 0x0b0
#define RESULT_NX_VALUES 0x0b8  // four of them
#define RESULT_TARGET_FIRST 0x0d8
#define RESULT_TARGET_SECOND 0x0e0
#define RESULT_TARGET_BACK 0x0e8
#define RESULT_ENTRY_READ 0x0f0
#define RESULT_ENTRY_WRITTEN 0x0f8
#define RESULT_VIEW_B_VALUE 0x100
#define RESULT_VIEW_B_GATE 0x108
#define RESULT_FS_BASE 0x110
#define RESULT_GS_BASE 0x118
#define RESULT_XCR0 0x120
#define RESULT_ANSWER 0x128
#define RESULT_MMIO_LOADED 0x130
#define RESULT_TSC 0x138
#define RESULT_GO 0x140  // the VMM's
#define RESULT_AVX_PATTERN 0x160
#define RESULT_AVX_AFTER_EXIT 0x180
#define RESULT_AVX_AFTER_KICK 0x1a0
#define RESULT_EXCEPTIONS 0x200

// struct ProbeException
#define EXCEPTION_SIZE 0x30
#define EXCEPTION_SEEN 0x00  // 0x100 and the vector; 0: none came
#define EXCEPTION_CODE 0x08
#define EXCEPTION_AT 0x10
#define EXCEPTION_FROM_CS 0x18
#define EXCEPTION_HANDLER_CS 0x20
#define EXCEPTION_ADDRESS 0x28

// Which exception is which.
#define EXPECT_UNDEFINED 0
#define EXPECT_DIVIDE 1
#define EXPECT_PRIVILEGED 2
#define EXPECT_PORT 3
#define EXPECT_NOT_CANONICAL 4
#define EXPECT_UNMAPPED 5
#define EXPECT_SINGLE_STEP 6
#define EXPECT_SUPERVISOR_READ 7
#define EXPECT_SUPERVISOR_WRITE 8
#define EXPECT_SUPERVISOR_EXECUTE 9
#define EXPECT_READ_ONLY 10
#define EXPECT_NO_EXECUTE 11  // four of them, by level
#define EXPECT_TARGET_GONE 15
#define EXPECT_TARGET_READ_ONLY 16
#define EXPECT_LARGE_READ 17
#define EXPECT_NOTHING 18  // any that should not come
#define EXPECT_COUNT 19
