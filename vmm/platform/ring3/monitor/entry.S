// The monitor's entries. Three kinds of code, by the page they lie in (docs/ring3.md has the pictures):
//   stubs   CPL 0, interpreted by KVM at 0.6-0.9 us an instruction: as short as can be
//   entry   CPL 3 under the kernel's page tables, native; begins at LSTAR
//   user    CPL 3 under the user's page tables, at the same address as `entry`: nothing but int3
// Stubs, entry and Cpu belong to one vCPU and reach each other relative to rip, so that a copy serves another
// vCPU. What they need of the common text they find in Cpu.
#include "vmm/platform/ring3/monitor/offsets.h"

#define CPU(field) (cpu + field)(%rip)
#define EXCEPTION(field) (cpu + EXCEPTION_##field)(%rip)

// ---------------------------------------------------------------------------------------------------------
.section .stubs, "ax"

// User view, #BP: every way in from the guest's user but a page fault. Nothing is decided here: the kernel's
// page tables are loaded and `enter` looks at rip, natively and at all of it. xchg both saves rax and brings
// the root; `enter` puts the root back.
.globl stub_enter
stub_enter:
  xchg %rax, CPU(CPU_ENTER_ROOT)
  mov %rax, %cr3
  lea CPU(CPU_ENTER_FRAME), %rsp
  iretq

// User view, #PF: the same with cr2 in rax.
.globl stub_fault_user
stub_fault_user:
  xchg %rax, CPU(CPU_ENTER_ROOT)
  mov %rax, %cr3
  mov %cr2, %rax
  lea CPU(CPU_FAULT_USER_FRAME), %rsp
  iretq

// Kernel view, #PF: no change of page tables.
.globl stub_fault_kernel
stub_fault_kernel:
  mov %rax, CPU(CPU_KERNEL_RAX)
  mov %cr2, %rax
  lea CPU(CPU_FAULT_KERNEL_FRAME), %rsp
  iretq

// Kernel view, #BP: the gate that loads cr3. Where it leads lies in gate_root and gate_frame: to the user while a
// return to the user is under way, home (kernel_break) at all other times, so that an int3 of the kernel's own
// is harmless. xchg leaves in gate_root what rax held: the return to the user passes kernel_root there.
.globl stub_gate
stub_gate:
  xchg %rax, CPU(CPU_GATE_ROOT)
  mov %rax, %cr3
  mov CPU(CPU_GATE_FRAME), %rsp
  pop %rax
  iretq
.globl stub_gate_end
stub_gate_end:

// All other vectors, both views: an exit to the VMM with the vector as port number, 16 bytes each.
.balign 16
.globl stub_exits
stub_exits:
vector = 0
.rept 32
  .balign 16
  out %al, $vector
  // Vectors that push an error code: iretq does not take it.
  .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
  add $8, %rsp
  .endif
  iretq
  vector = vector + 1
.endr

// ---------------------------------------------------------------------------------------------------------
.section .entry, "ax"

.macro SAVE_REGISTERS  // struct SavedRegisters
  push %rcx
  push %r11
  push %r10
  push %r9
  push %r8
  push %rdx
  push %rsi
  push %rdi
  push %rax
.endm
.macro RESTORE_REGISTERS
  pop %rax
  pop %rdi
  pop %rsi
  pop %rdx
  pop %r8
  pop %r9
  pop %r10
  pop %r11
  pop %rcx
.endm
// C++ handler in Cpu: (Cpu*, SavedRegisters*)
.macro CALL_HANDLER field
  lea cpu(%rip), %rdi
  mov %rsp, %rsi
  cld
  call *CPU(\field)
.endm
.macro KERNEL_GS_BASE scratch
  rdgsbase \scratch
  mov \scratch, CPU(CPU_USER_GS)
  mov CPU(CPU_KERNEL_GS), \scratch
  wrgsbase \scratch
.endm
.macro GATE_LEADS_HOME scratch
  lea CPU(CPU_HOME_FRAME), \scratch
  mov \scratch, CPU(CPU_GATE_FRAME)
.endm

// LSTAR. Under the kernel's page tables `syscall` is a hypercall: rcx is the return address, r11 the flags, rax
// the number, rdi rsi rdx r10 r8 the arguments (Xen's public/arch-x86/xen-x86_64.h).
.globl entry_start
entry_start:
  cmp $HYPERCALL_IRET, %eax
  je iret
  mov %rsp, CPU(CPU_HYPERCALL_SP)
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  CALL_HANDLER CPU_ON_HYPERCALL
hypercall_done:
  RESTORE_REGISTERS
  mov CPU(CPU_HYPERCALL_SP), %rsp
  movq $0, CPU(CPU_HYPERCALL_SP)
// The VMM restarts this piece when it made an event pending while the vCPU was in it.
.globl hypercall_return
hypercall_return:
  mov CPU(CPU_VCPU_INFO), %r11
  cmpw $1, (%r11)  // pending and not masked
  je 1f
  jmp *%rcx
.globl hypercall_return_end
hypercall_return_end:
1:
  mov %rsp, %r11
  and $-16, %rsp
  push $0x2b
  push %r11
  pushfq
  orl $0x200, (%rsp)
  push $0xe030
  push %rcx
  push %r11
  push %rcx
  mov CPU(CPU_VCPU_INFO), %r11
deliver_event:
  movb $1, VCPU_INFO_MASK(%r11)
  incq CPU(CPU_COUNT_EVENTS)
  jmp *CPU(CPU_EVENT_ENTRY)

// HYPERVISOR_iret: rsp leads to rax, r11, rcx, flags, then what iretq takes.
iret:
  testb $3, 0x28(%rsp)
  jnz iret_user
  mov CPU(CPU_VCPU_INFO), %rcx
  mov 0x30(%rsp), %eax
  shr $9, %eax
  not %eax
  and $1, %eax
  mov %al, VCPU_INFO_MASK(%rcx)
  movq $0x33, 0x28(%rsp)
  movq $0x2b, 0x40(%rsp)
  andl $USER_FLAGS, 0x30(%rsp)
  orl $ALWAYS_FLAGS, 0x30(%rsp)
  mov 0x08(%rsp), %r11
  mov 0x10(%rsp), %rcx
  add $0x20, %rsp
.globl kernel_return  // restarted as hypercall_return is
kernel_return:
  mov CPU(CPU_VCPU_INFO), %rax
  cmpw $1, (%rax)
  mov -0x20(%rsp), %rax
  je 1f
  iretq
.globl kernel_return_end
kernel_return_end:
1:
  movq $0xe030, 0x08(%rsp)
  push %r11
  push %rcx
  mov CPU(CPU_VCPU_INFO), %r11
  jmp deliver_event

iret_user:
  // An address that is not canonical would make iretq fault at CPL 0; Linux hears of it as of a fault of the user.
  mov 0x20(%rsp), %rax
  mov %rax, CPU(CPU_USER_FRAME + 0x08)
  shr $47, %rax
  jnz iret_bad
  // The CPU would refuse other selectors than these, which a program can put into a signal frame.
  cmpq $USER_CS, 0x28(%rsp)
  jne iret_bad
  cmpq $USER_SS, 0x40(%rsp)
  jne iret_bad
  mov 0x30(%rsp), %eax
  and $USER_FLAGS, %eax
  or $ALWAYS_FLAGS, %eax
  mov %rax, CPU(CPU_USER_FRAME + 0x18)
  mov 0x38(%rsp), %rax
  mov %rax, CPU(CPU_USER_FRAME + 0x20)
  mov (%rsp), %rax
  mov %rax, CPU(CPU_USER_FRAME)
  mov CPU(CPU_VCPU_INFO), %rax
  movb $0, VCPU_INFO_MASK(%rax)
  mov CPU(CPU_USER_GS), %rax
  wrgsbase %rax
  mov CPU(CPU_USER_ROOT), %rax
  mov %rax, CPU(CPU_GATE_ROOT)
  lea CPU(CPU_USER_FRAME), %rax
  mov %rax, CPU(CPU_GATE_FRAME)
  movb $1, CPU(CPU_USER_MODE)
  mov 0x08(%rsp), %r11
  mov 0x10(%rsp), %rcx
.globl user_return  // restarted as hypercall_return is
user_return:
  mov CPU(CPU_VCPU_INFO), %rax
  cmpb $0, VCPU_INFO_PENDING(%rax)
  jne iret_user_event
// From here until the stub's iretq the VMM delivers an event by changing rip in user_frame.
.globl user_return_committed
user_return_committed:
  mov CPU(CPU_KERNEL_ROOT), %rax
  int3
.globl user_return_end
user_return_end:

// The frame of the return becomes the frame of the event.
iret_user_event:
  mov CPU(CPU_KERNEL_GS), %rax
  wrgsbase %rax
  GATE_LEADS_HOME %rax
  mov CPU(CPU_KERNEL_ROOT), %rax
  mov %rax, CPU(CPU_GATE_ROOT)
  movb $0, CPU(CPU_USER_MODE)
  mov (%rsp), %rax
  mov %rcx, 0x10(%rsp)
  mov %r11, 0x18(%rsp)
  add $0x10, %rsp
  mov CPU(CPU_VCPU_INFO), %r11
  jmp deliver_event

iret_bad:
  mov %rsp, CPU(CPU_DELIVER_SP)
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  CALL_HANDLER CPU_ON_BAD_RETURN
  jmp deliver

// From stub_enter: a system call, an int3 of the user's own, or what the VMM injects. All registers but rax (in
// enter_root) are the user's; the exception frame has its rip, rsp and flags.
.globl enter
enter:
  lea (entry_start + USER_SYSCALL_GATE_END)(%rip), %rax
  cmp %rax, EXCEPTION(RIP)
  jne enter_other
  mov CPU(CPU_KERNEL_SP), %rsp
  // A program that jumps to the gate chooses r11: of flags it could not have, the kernel is not told.
  and $USER_FLAGS, %r11d
  or $ALWAYS_FLAGS, %r11d
  push $0x2b
  push EXCEPTION(RSP)
  push %r11
  push $0x33
  push %rcx
  push %r11
  push %rcx
  KERNEL_GS_BASE %r11
  GATE_LEADS_HOME %r11
  movb $0, CPU(CPU_USER_MODE)
  mov CPU(CPU_VCPU_INFO), %r11
  movb $1, VCPU_INFO_MASK(%r11)
  incq CPU(CPU_COUNT_SYSCALLS)
  mov CPU(CPU_KERNEL_ROOT), %r11
  mov CPU(CPU_ENTER_ROOT), %rax
  mov %r11, CPU(CPU_ENTER_ROOT)
  jmp *CPU(CPU_SYSCALL_ENTRY)

enter_other:
  mov CPU(CPU_KERNEL_ROOT), %rax
  xchg %rax, CPU(CPU_ENTER_ROOT)
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  KERNEL_GS_BASE %rax
  GATE_LEADS_HOME %rax
  movb $0, CPU(CPU_USER_MODE)
  CALL_HANDLER CPU_ON_ENTER
deliver:
  RESTORE_REGISTERS
  mov CPU(CPU_DELIVER_SP), %rsp
  jmp *CPU(CPU_DELIVER_TARGET)

// From stub_fault_user: rax is cr2, the user's rax lies in enter_root.
.globl fault_user
fault_user:
  cmpw $USER_CS, EXCEPTION(CS)
  jne enter_other
  mov CPU(CPU_KERNEL_SP), %rsp
  push $0x2b
  push EXCEPTION(RSP)
  push EXCEPTION(RFLAGS)
  push $0x33
  push EXCEPTION(RIP)
  push EXCEPTION(ERROR)
  orl $4, (%rsp)  // also of an access that the CPU makes for the user, to a descriptor table
  push %r11
  push %rcx
  KERNEL_GS_BASE %r11
  GATE_LEADS_HOME %r11
  movb $0, CPU(CPU_USER_MODE)
  mov CPU(CPU_VCPU_INFO), %r11
  movb $1, VCPU_INFO_MASK(%r11)
  mov %rax, VCPU_INFO_CR2(%r11)
  incq CPU(CPU_COUNT_FAULTS)
  mov CPU(CPU_KERNEL_ROOT), %r11
  mov CPU(CPU_ENTER_ROOT), %rax
  mov %r11, CPU(CPU_ENTER_ROOT)
  jmp *CPU(CPU_PAGE_FAULT_ENTRY)

// From stub_fault_kernel: rax is cr2, the kernel's rax lies in kernel_rax.
.globl fault_kernel
fault_kernel:
  cmpl $MONITOR_ADDRESS_HIGH, (cpu + EXCEPTION_RIP + 4)(%rip)
  je fault_monitor
  mov EXCEPTION(RSP), %rsp
  and $-16, %rsp
  push $0x2b
  push EXCEPTION(RSP)
  push EXCEPTION(RFLAGS)
  push $0xe030
  push EXCEPTION(RIP)
  push EXCEPTION(ERROR)
  andl $~4, (%rsp)  // to the CPU the kernel is a user
  push %r11
  push %rcx
  mov CPU(CPU_VCPU_INFO), %rcx
  mov %rax, VCPU_INFO_CR2(%rcx)
  testb $1, VCPU_INFO_MASK(%rcx)
  jz 1f
  andl $~0x200, 0x28(%rsp)
1:
  movb $1, VCPU_INFO_MASK(%rcx)
  incq CPU(CPU_COUNT_FAULTS)
  mov CPU(CPU_KERNEL_RAX), %rax
  jmp *CPU(CPU_PAGE_FAULT_ENTRY)

// The monitor faulted: in a hypercall it followed a pointer of the guest's, which fails with -EFAULT. Elsewhere
// the guest's kernel stack is gone and so is the guest. Also where entries lead that the kernel has not named.
// The VMM leads here too, for the #GP or #SS of an address that is not canonical.
.globl fault_monitor
fault_monitor:
  cmpq $0, CPU(CPU_HYPERCALL_SP)
  je 1f
  lea (stack_top - 9 * 8)(%rip), %rsp
  movq $-14, (%rsp)
  jmp hypercall_done
1:
  mov %rax, CPU(CPU_FAULT_ADDRESS)
.globl monitor_dead  // the VMM knows the address
monitor_dead:
  ud2

// From stub_gate on its way home: the end of load_root, or an int3 of the kernel's own with rax in gate_root.
.globl kernel_break
kernel_break:
  mov CPU(CPU_LOAD_ROOT_END), %rax
  cmp %rax, EXCEPTION(RIP)
  mov CPU(CPU_KERNEL_ROOT), %rax
  xchg %rax, CPU(CPU_GATE_ROOT)
  jne 1f
  mov EXCEPTION(RSP), %rsp
  ret
1:
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  CALL_HANDLER CPU_ON_BREAK
  jmp deliver

// The VMM sets rip to this when it injects into the kernel; rsp is still the kernel's.
.globl inject_kernel
inject_kernel:
  mov %rsp, CPU(CPU_DELIVER_SP)
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  CALL_HANDLER CPU_ON_INJECT
  jmp deliver

// ---------------------------------------------------------------------------------------------------------
// The user's version of the entry page: gates at entry_start and at USER_INJECT_GATE, and no other instruction to
// jump to.
.section .user, "ax"
  .fill 4096, 1, 0xcc

// ---------------------------------------------------------------------------------------------------------
.section .text, "ax"

// LoadRoot(): loads cr3 with gate_root, which the caller has set. Clobbers rax.
.globl load_root
load_root:
  int3
.globl load_root_end
load_root_end:
  ret  // never reached: kernel_break returns in its place

// CallVmm(): a #UD, whose stub exits to the VMM; the arguments lie in Cpu::call.
.globl call_vmm
call_vmm:
  ud2
  ret

.section .header, "a"
  .quad 0x336e6f4d6d76686d  // "mhvmMon3"
  .quad stub_enter, stub_fault_user, stub_fault_kernel, stub_gate, stub_gate_end, stub_exits
  .quad entry_start, enter, fault_user, fault_kernel, kernel_break, inject_kernel
  .quad hypercall_return, hypercall_return_end, kernel_return, kernel_return_end
  .quad user_return, user_return_committed, user_return_end, fault_monitor, monitor_dead
  .quad load_root_end, call_vmm
  .quad MonitorHypercall, MonitorEnter, MonitorBreak, MonitorInject, MonitorBadReturn
