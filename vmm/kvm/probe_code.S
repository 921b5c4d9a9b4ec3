// The guest code of the host probe. A page of ring-0 stubs, interpreted where KVM emulates ring 0, with the very
// instructions that the ring3 monitor's stubs have; then the program of ring 3, which does one step after the
// other and writes down what came of it. It judges nothing: ring3_probe.cc does.
#include "vmm/kvm/probe_layout.h"

#define RESULT(field) (hmvm_probe_start + PROBE_RESULTS + RESULT_##field)(%rip)
#define PAGE(name) (hmvm_probe_start + PROBE_##name)(%rip)
#define RECORD(number) (hmvm_probe_start + PROBE_RESULTS + RESULT_EXCEPTIONS + (number) * EXCEPTION_SIZE)(%rip)

.section .rodata
.globl hmvm_probe_start, hmvm_probe_loop, hmvm_probe_vectors, hmvm_probe_gate_a, hmvm_probe_gate_b
.globl hmvm_probe_ring3, hmvm_probe_lstar, hmvm_probe_after_syscall, hmvm_probe_after_break, hmvm_probe_end
.globl hmvm_probe_framed, hmvm_probe_spin, hmvm_probe_spin_end, hmvm_probe_single_step_end
.balign 4096
hmvm_probe_start:

// ---- ring 0 ----

hmvm_probe_loop:
  out %al, $PROBE_PORT_LOOP_START
  mov $PROBE_LOOP_COUNT, %ecx
1:
  dec %ecx
  jnz 1b
  out %al, $PROBE_PORT_LOOP_END
  jmp hmvm_probe_loop

// int3: loads a root and leaves through a frame that the program gave, or as the monitor's stubs do, through the one
// that the view of this root has where the CPU pushed.
.macro GATE_STUB view
  cmpl $1, RESULT(FRAME)
  je leave_through_frame
  xchg %rax, RESULT(GATE_ROOT)
  mov %rax, %cr3
  movl $\view, RESULT(GATE_VIEW)
  mov %cs, %eax
  mov %eax, RESULT(GATE_CS)
  lea RESULT(GATE_FRAME), %rsp
  pop %rax
  iretq
.endm
hmvm_probe_gate_a:
  GATE_STUB 1
hmvm_probe_gate_b:
  GATE_STUB 2
leave_through_frame:
  xchg %rax, RESULT(GATE_ROOT)
  mov %rax, %cr3
  iretq

// All other vectors, 16 bytes each.
.balign 16
hmvm_probe_vectors:
vector = 0
.rept 32
  .balign 16
  .if vector == 6
  out %eax, $PROBE_PORT_CALL
  .endif
  .if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
  push $0
  .endif
  push $0x100 + vector
  jmp exception
  vector = vector + 1
.endr

// Fills the record that the program named and goes on where it said.
exception:
  push %rax
  push %rbx
  mov RESULT(RECORD), %rbx
  mov 0x10(%rsp), %rax
  mov %rax, EXCEPTION_SEEN(%rbx)
  mov 0x18(%rsp), %rax
  mov %rax, EXCEPTION_CODE(%rbx)
  mov 0x20(%rsp), %rax
  mov %rax, EXCEPTION_AT(%rbx)
  mov 0x28(%rsp), %rax
  mov %rax, EXCEPTION_FROM_CS(%rbx)
  mov %cs, %eax
  mov %eax, EXCEPTION_HANDLER_CS(%rbx)
  mov %cr2, %rax
  mov %rax, EXCEPTION_ADDRESS(%rbx)
  mov RESULT(RESUME), %rax
  mov %rax, 0x20(%rsp)
  andl $~0x100, 0x30(%rsp)
  pop %rbx
  pop %rax
  add $0x10, %rsp
  iretq

// ---- ring 3 ----

.macro STEP number
  movl $\number, RESULT(STEP)
.endm
// What comes until the next 9: is written to the record.
.macro EXPECT record
  lea RECORD(\record), %rax
  mov %rax, RESULT(RECORD)
  lea 9f(%rip), %rax
  mov %rax, RESULT(RESUME)
.endm
.macro GATE root
  movq $\root, RESULT(GATE_ROOT)
  lea 8f(%rip), %rax
  mov %rax, (RESULT_GATE_FRAME + 0x08 + hmvm_probe_start + PROBE_RESULTS)(%rip)
  mov %rsp, (RESULT_GATE_FRAME + 0x20 + hmvm_probe_start + PROBE_RESULTS)(%rip)
  int3
8:
.endm
.macro CALL_VMM number
  EXPECT EXPECT_NOTHING
  mov $\number, %eax
  ud2
9:
.endm

.balign 4096
hmvm_probe_ring3:
  EXPECT EXPECT_NOTHING
9:
  STEP STEP_SYSCALL
  std
  syscall
hmvm_probe_after_syscall:
  cld
  jmp high_half

hmvm_probe_lstar:
  mov %rcx, RESULT(SYSCALL_RCX)
  mov %r11, RESULT(SYSCALL_R11)
  pushfq
  popq RESULT(SYSCALL_FLAGS)
  mov %cs, %eax
  mov %eax, RESULT(SYSCALL_CS)
  test $3, %al
  jz 1f
  jmp *%rcx
1:
  out %al, $PROBE_PORT_END

high_half:
  STEP STEP_HIGH_HALF
  EXPECT EXPECT_NOTHING
number = 0
.irp address, PROBE_HIGH_DIRECT_MAP, PROBE_HIGH_KERNEL_MAP, PROBE_HIGH_KERNEL_IMAGE
  movabs $\address, %rdx
  mov PROBE_CODE_VALUE_AT(%rdx), %rax
  mov %rax, (hmvm_probe_start + PROBE_RESULTS + RESULT_HIGH_VALUES + 8 * number)(%rip)
  lea 1f(%rip), %rsi
  jmp *%rdx
1:
  incl RESULT(HIGH_RUNS)
  number = number + 1
.endr
9:

  STEP STEP_EXCEPTIONS
  EXPECT EXPECT_UNDEFINED
  xor %eax, %eax
  ud2
9:
  EXPECT EXPECT_DIVIDE
  xor %ecx, %ecx
  div %ecx
9:
  EXPECT EXPECT_PRIVILEGED
  mov $0x10, %ecx
  rdmsr
9:
  EXPECT EXPECT_PORT
  out %al, $0x80
9:
  EXPECT EXPECT_NOT_CANONICAL
  movabs $0x8000000000000000, %rdx
  mov (%rdx), %al
9:
  EXPECT EXPECT_UNMAPPED
  mov PAGE(UNMAPPED), %al
9:

  STEP STEP_SINGLE_STEP
  EXPECT EXPECT_SINGLE_STEP
  pushfq
  orl $0x100, (%rsp)
  popfq
  nop
hmvm_probe_single_step_end:
9:

  STEP STEP_IRET
  EXPECT EXPECT_NOTHING
  mov %rsp, %rdx
  push $0x2b
  push %rdx
  pushfq
  push $0x33
  lea 1f(%rip), %rax
  push %rax
  iretq
1:
  mov %cs, %eax
  mov %eax, RESULT(IRET_CS)
9:

  STEP STEP_SUPERVISOR
  EXPECT EXPECT_SUPERVISOR_READ
  mov PAGE(SUPERVISOR), %al
9:
  EXPECT EXPECT_SUPERVISOR_WRITE
  mov %al, PAGE(SUPERVISOR)
9:
  EXPECT EXPECT_SUPERVISOR_EXECUTE
  lea 9f(%rip), %rsi
  lea PAGE(SUPERVISOR), %rdx
  jmp *%rdx
9:

  EXPECT EXPECT_LARGE_READ
  mov (hmvm_probe_start + PROBE_LARGE + PROBE_FRAMES)(%rip), %al
9:

  STEP STEP_READ_ONLY
  EXPECT EXPECT_READ_ONLY
  mov %al, PAGE(READ_ONLY)
9:

  STEP STEP_NO_EXECUTE
number = 0
.irp address, PROBE_BASE + PROBE_NO_EXECUTE, PROBE_NO_EXECUTE_LEVEL2, PROBE_NO_EXECUTE_LEVEL3, PROBE_NO_EXECUTE_LEVEL4
  EXPECT EXPECT_NO_EXECUTE + number
  movabs $\address, %rdx
  mov PROBE_CODE_VALUE_AT(%rdx), %rax
  mov %rax, (hmvm_probe_start + PROBE_RESULTS + RESULT_NX_VALUES + 8 * number)(%rip)
  lea 9f(%rip), %rsi
  jmp *%rdx
9:
  number = number + 1
.endr

  STEP STEP_BREAK_GATE
  EXPECT EXPECT_NOTHING
  GATE PROBE_ROOT_A
hmvm_probe_after_break:
  incl RESULT(GATE_DONE)
9:

#define TARGET_ENTRY (hmvm_probe_start + PROBE_TABLE + PROBE_TARGET / 4096 * 8)(%rip)
  STEP STEP_SHADOW
  EXPECT EXPECT_NOTHING
  mov PAGE(TARGET), %rax
  mov %rax, RESULT(TARGET_FIRST)
  mov %rax, PAGE(TARGET)
  movq $PROBE_TARGET_SECOND + 7, TARGET_ENTRY
  GATE PROBE_ROOT_A
  mov PAGE(TARGET), %rax
  mov %rax, RESULT(TARGET_SECOND)
9:
  EXPECT EXPECT_TARGET_GONE
  movq $0, TARGET_ENTRY
  GATE PROBE_ROOT_A
  mov PAGE(TARGET), %al
9:
  // From not present to present without a flush, as the architecture allows.
  EXPECT EXPECT_NOTHING
  movq $PROBE_TARGET_FIRST + 7, TARGET_ENTRY
  mov PAGE(TARGET), %rax
  mov %rax, RESULT(TARGET_BACK)
  mov %rax, PAGE(TARGET)
9:
  EXPECT EXPECT_TARGET_READ_ONLY
  movq $PROBE_TARGET_FIRST + 5, TARGET_ENTRY
  GATE PROBE_ROOT_A
  mov %rax, PAGE(TARGET)
9:
  EXPECT EXPECT_NOTHING
  movq $PROBE_TARGET_FIRST + 7, TARGET_ENTRY
  GATE PROBE_ROOT_A
  mov PAGE(TARGET), %rax
  mov TARGET_ENTRY, %rdx
  mov %rdx, RESULT(ENTRY_READ)
  mov %rax, PAGE(TARGET)
  mov TARGET_ENTRY, %rdx
  mov %rdx, RESULT(ENTRY_WRITTEN)
9:

  STEP STEP_FRAMES
  EXPECT EXPECT_NOTHING
  movl $1, RESULT(FRAME)
  movq $PROBE_ROOT_B, RESULT(GATE_ROOT)
  mov %rsp, %rdx
  int3
  jmp 9f
hmvm_probe_framed:
  mov %rdx, %rsp
  movl $0, RESULT(FRAME)
  GATE PROBE_ROOT_A
  movl $2, RESULT(FRAME)
9:
  // However it went, under the first root.
  EXPECT EXPECT_NOTHING
  cmpl $2, RESULT(FRAME)
  je 9f
  movl $0, RESULT(FRAME)
  GATE PROBE_ROOT_A
9:

  STEP STEP_VIEWS
  EXPECT EXPECT_NOTHING
  GATE PROBE_ROOT_B
  mov PAGE(TARGET), %rax
  mov %rax, RESULT(VIEW_B_VALUE)
  GATE PROBE_ROOT_A
  mov RESULT(GATE_VIEW), %eax
  mov %eax, RESULT(VIEW_B_GATE)
9:

  STEP STEP_BASES
  EXPECT EXPECT_NOTHING
  movabs $PROBE_FS_BASE, %rax
  wrfsbase %rax
  movabs $PROBE_GS_BASE, %rax
  wrgsbase %rax
  GATE PROBE_ROOT_A
  rdfsbase %rax
  mov %rax, RESULT(FS_BASE)
  rdgsbase %rax
  mov %rax, RESULT(GS_BASE)
9:

  STEP STEP_XCR0
  EXPECT EXPECT_NOTHING
  xor %ecx, %ecx
  xgetbv
  mov %eax, RESULT(XCR0)
  mov %edx, (hmvm_probe_start + PROBE_RESULTS + RESULT_XCR0 + 4)(%rip)
9:

  STEP STEP_EXIT
  EXPECT EXPECT_NOTHING
  testl $4, RESULT(XCR0)
  jz 9f
  vmovdqu RESULT(AVX_PATTERN), %ymm5
9:
  xor %edx, %edx
  CALL_VMM PROBE_CALL_STATE
  mov %edx, RESULT(ANSWER)
  EXPECT EXPECT_NOTHING
  testl $4, RESULT(XCR0)
  jz 9f
  vmovdqu %ymm5, RESULT(AVX_AFTER_EXIT)
9:

  STEP STEP_MMIO
  EXPECT EXPECT_NOTHING
  lea PAGE(MMIO), %rdx
  movl $PROBE_MMIO_STORED, PROBE_MMIO_STORE(%rdx)
  mov PROBE_MMIO_LOAD(%rdx), %eax
  mov %eax, RESULT(MMIO_LOADED)
  movl $PROBE_MMIO_EVENT_VALUE, PROBE_MMIO_EVENT(%rdx)
9:

  STEP STEP_TIME
  EXPECT EXPECT_NOTHING
  rdtsc
  mov %eax, RESULT(TSC)
  mov %edx, (hmvm_probe_start + PROBE_RESULTS + RESULT_TSC + 4)(%rip)
9:

  STEP STEP_KICK
  CALL_VMM PROBE_CALL_SPIN
hmvm_probe_spin:
  cmpl $0, RESULT(GO)
  je hmvm_probe_spin
hmvm_probe_spin_end:
  EXPECT EXPECT_NOTHING
  testl $4, RESULT(XCR0)
  jz 9f
  vmovdqu %ymm5, RESULT(AVX_AFTER_KICK)
9:

  STEP STEP_DONE
  CALL_VMM PROBE_CALL_DONE
1:
  jmp 1b
hmvm_probe_end:

.section .note.GNU-stack, "", @progbits
