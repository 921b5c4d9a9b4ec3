#include "vmm/kvm/probe_code.h"

// The numbers are ProbePort's. An exception handler that skips ud2-like instructions of the probe adds their
// length to the return address: rdgsbase, wrgsbase and xgetbv report zero where the host refuses them.
asm(R"(
.pushsection .rodata
.globl hmvm_probe_start, hmvm_probe_loop, hmvm_probe_ring3, hmvm_probe_lstar, hmvm_probe_break
.globl hmvm_probe_undefined, hmvm_probe_fault, hmvm_probe_end
.balign 16
hmvm_probe_start:

hmvm_probe_loop:
  out %al, $0x10
  mov $500, %ecx
1:
  dec %ecx
  jnz 1b
  out %al, $0x11
  jmp hmvm_probe_loop

hmvm_probe_ring3:
  syscall
2:
  int3
  out %al, $0x22
  ud2
  mov $0x12345000, %eax
  .byte 0xf3, 0x48, 0x0f, 0xae, 0xd8  # wrgsbase %rax
  xor %eax, %eax
  .byte 0xf3, 0x48, 0x0f, 0xae, 0xc8  # rdgsbase %rax
  out %eax, $0x24
  xor %ecx, %ecx
  xor %eax, %eax
  xgetbv
  out %eax, $0x25
  out %al, $0x2f
3:
  jmp 3b

hmvm_probe_lstar:
  out %al, $0x20
  jmp *%rcx

hmvm_probe_break:
  out %al, $0x21
  iretq

# Skips the instruction by its first byte: 0xf3 wrgsbase and rdgsbase, 0x0f 0x01 xgetbv, else ud2.
hmvm_probe_undefined:
  push %rbx
  mov 8(%rsp), %rbx
  cmpb $0xf3, (%rbx)
  jne 4f
  addq $3, 8(%rsp)
  jmp 5f
4:
  cmpb $0x01, 1(%rbx)
  jne 5f
  addq $1, 8(%rsp)
5:
  addq $2, 8(%rsp)
  pop %rbx
  out %al, $0x23
  iretq

hmvm_probe_fault:
  out %al, $0x30
  hlt
hmvm_probe_end:
.popsection
)");
