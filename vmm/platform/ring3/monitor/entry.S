// The monitor's entries. Three kinds of code, by the page they lie in (docs/ring3.md has the pictures):
//   stubs   CPL 0, interpreted by KVM at 0.6-0.9 us an instruction: as short as can be
//   entry   CPL 3 under the kernel's page tables, native; begins at LSTAR
//   user    CPL 3 under the user's page tables, at the same address as `entry`: nothing but int3
// Stubs, entry and Cpu belong to one vCPU and reach each other relative to rip, so that a copy serves another
// vCPU. What they need of the common text they find in Cpu.
#include "vmm/platform/ring3/monitor/offsets.h"

#define CPU(field) (cpu + field)(%rip)
// struct Exceptions of the view that is loaded, and, in the kernel's view, of the user's.
#define EXCEPTIONS(field) (exceptions + field)(%rip)
#define USERS(field) (user_exceptions + field)(%rip)

// ---------------------------------------------------------------------------------------------------------
.section .stubs, "ax"

// Each ends with an iretq from where the exception was pushed, but where cr3 has been loaded in between, that
// address is another page (struct Exceptions): the CPU is led on by a frame that was there before. So no
// instruction chooses where to go.

// User view, #BP: every way in from the guest's user but a page fault. Nothing is decided here: the kernel's
// page tables are loaded and `enter` looks at rip, natively and at all of it.
.globl stub_enter
stub_enter:
  xchg %rax, EXCEPTIONS(ENTER_ROOT)  // saves the only register that is needed and brings the root
  mov %rax, %cr3
  iretq  // from the kernel's page, to `enter`

// User view, #PF: the same with cr2 in rax, which no native instruction can read.
.globl stub_fault_user
stub_fault_user:
  xchg %rax, EXCEPTIONS(ENTER_ROOT)
  mov %rax, %cr3
  mov %cr2, %rax
  iretq  // from the kernel's page, to `fault_user`

// Kernel view, #PF: no change of page tables, so the place to go on at has to be named.
.globl stub_fault_kernel
stub_fault_kernel:
  mov %rax, EXCEPTIONS(KERNEL_RAX)
  mov %cr2, %rax
  lea EXCEPTIONS(FAULT_KERNEL_FRAME), %rsp
  iretq

// Kernel view, #BP, while the monitor has the gate lead here: r11 is the root to load. Of the kernel itself: all
// kernel roots have the same page, so the iretq leads behind the int3.
.globl stub_load
stub_load:
  mov %r11, %cr3
  iretq

// The user's root: the iretq takes `gate` in the user's page. r11 is then the user's business (continue).
.globl stub_return
stub_return:
  mov %r11, %cr3
  iretq
.globl stub_return_end
stub_return_end:

// The same for a return that needs r11, too.
.globl stub_return_full
stub_return_full:
  mov %r11, %cr3
  pop %r11
  iretq
.globl stub_return_full_end
stub_return_full_end:

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
// C++ handler in Cpu: (Cpu*, SavedRegisters*), and a third argument in rdx
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
// Where the next int3 under the kernel's page tables leads.
.macro SET_GATE kind, scratch
  mov CPU(\kind), \scratch
  mov \scratch, (idt + IDT_BREAKPOINT)(%rip)
.endm

// LSTAR. Under the kernel's page tables `syscall` is a hypercall: rcx is the return address, r11 the flags, rax
// the number, rdi rsi rdx r10 r8 the arguments (Xen's public/arch-x86/xen-x86_64.h).
.globl entry_start
entry_start:
  cmp $HYPERCALL_IRET, %eax
  je iret
hypercall:
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

// Where a guest kernel that knows of it calls: the same as by `syscall`, which takes KVM 0.9 us.
.globl hypercall_call
hypercall_call:
  cmp $HYPERCALL_IRET, %eax
  je iret
  pop %rcx
  jmp hypercall

// HYPERVISOR_iret: rsp leads to rax, r11, rcx, flags, then what iretq takes.
iret:
  movq $0, CPU(CPU_NMI_MASKED)
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
  mov 0x20(%rsp), %rcx
  mov %rcx, %rax
  shr $47, %rax
  jnz iret_bad
  // The CPU would refuse other selectors than these, which a program can put into a signal frame.
  cmpq $USER_CS, 0x28(%rsp)
  jne iret_bad
  cmpq $USER_SS, 0x40(%rsp)
  jne iret_bad
  mov 0x30(%rsp), %r11d
  and $USER_FLAGS, %r11d
  or $ALWAYS_FLAGS, %r11d
  mov CPU(CPU_VCPU_INFO), %rax
  movb $0, VCPU_INFO_MASK(%rax)
  mov CPU(CPU_USER_GS), %rax
  wrgsbase %rax
  mov CPU(CPU_KERNEL_ROOT), %rax
  mov %rax, USERS(ENTER_ROOT)
  movb $1, CPU(CPU_USER_MODE)
  // Behind a `syscall`, as rcx and r11 tell, and not stepped? Then r11 is free: programs do not expect it kept.
  cmp %rcx, 0x10(%rsp)
  jne 1f
  cmp %r11, 0x08(%rsp)
  jne 1f
  test $TRAP_FLAG, %r11d
  jnz 1f
  mov %r11, USERS(RETURN_RFLAGS)
  mov 0x38(%rsp), %rax
  mov %rax, USERS(RETURN_RSP)
  lea (entry_start + USER_CONTINUE)(%rip), %rax
  mov %rax, USERS(RETURN_RIP)
  SET_GATE CPU_GATE_RETURN, %rax
  mov (%rsp), %rax
.globl user_return  // restarted as hypercall_return is
user_return:
  mov CPU(CPU_VCPU_INFO), %r11
  cmpb $0, VCPU_INFO_PENDING(%r11)
  jne iret_user_event
// From here until the stub's iretq the VMM delivers an event by changing rip in the frame.
.globl user_return_committed
user_return_committed:
  mov CPU(CPU_USER_ROOT), %r11
  int3
  nop  // rip while KVM has the int3 under way: still on this way
.globl user_return_end
user_return_end:

1:
  mov %rcx, USERS(FULL_RIP)
  mov %r11, USERS(FULL_RFLAGS)
  mov 0x38(%rsp), %rax
  mov %rax, USERS(FULL_RSP)
  mov 0x08(%rsp), %rax
  mov %rax, USERS(FULL_R11)
  SET_GATE CPU_GATE_RETURN_FULL, %rax
  mov (%rsp), %rax
  mov 0x10(%rsp), %rcx
.globl user_return_full
user_return_full:
  mov CPU(CPU_VCPU_INFO), %r11
  cmpb $0, VCPU_INFO_PENDING(%r11)
  jne iret_user_event
.globl user_return_full_committed
user_return_full_committed:
  mov CPU(CPU_USER_ROOT), %r11
  int3
  nop  // as above
.globl user_return_full_end
user_return_full_end:

// The frame of the return becomes the frame of the event.
iret_user_event:
  mov CPU(CPU_KERNEL_GS), %r11
  wrgsbase %r11
  SET_GATE CPU_GATE_CLOSED, %r11
  movb $0, CPU(CPU_USER_MODE)
  mov 0x08(%rsp), %r11
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
  cmp %rax, USERS(BREAKPOINT_RIP)
  jne enter_other
  mov CPU(CPU_KERNEL_SP), %rsp
  // A program that jumps to the gate chooses r11: of flags it could not have, the kernel is not told.
  and $USER_FLAGS, %r11d
  or $ALWAYS_FLAGS, %r11d
  push $0x2b
  push USERS(BREAKPOINT_RSP)
  push %r11
  push $0x33
  push %rcx
  push %r11
  push %rcx
  KERNEL_GS_BASE %r11
  SET_GATE CPU_GATE_CLOSED, %r11
  movb $0, CPU(CPU_USER_MODE)
  mov CPU(CPU_VCPU_INFO), %r11
  movb $1, VCPU_INFO_MASK(%r11)
  incq CPU(CPU_COUNT_SYSCALLS)
  mov USERS(ENTER_ROOT), %rax
  jmp *CPU(CPU_SYSCALL_ENTRY)

enter_other:
  mov USERS(ENTER_ROOT), %rax
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  lea USERS(BREAKPOINT_RIP), %rdx
enter_saved:
  KERNEL_GS_BASE %rax
  SET_GATE CPU_GATE_CLOSED, %rax
  movb $0, CPU(CPU_USER_MODE)
  CALL_HANDLER CPU_ON_ENTER
deliver:
  RESTORE_REGISTERS
  mov CPU(CPU_DELIVER_SP), %rsp
  jmp *CPU(CPU_DELIVER_TARGET)

// From stub_fault_user: rax is cr2, the user's rax lies in enter_root.
.globl fault_user
fault_user:
  cmpw $USER_CS, USERS(FAULT_CS)
  jne fault_other
  mov CPU(CPU_KERNEL_SP), %rsp
  push $0x2b
  push USERS(FAULT_RSP)
  push USERS(FAULT_RFLAGS)
  push $0x33
  push USERS(FAULT_RIP)
  push USERS(FAULT_ERROR)
  orl $4, (%rsp)  // also of an access that the CPU makes for the user, to a descriptor table
  push %r11
  push %rcx
  KERNEL_GS_BASE %r11
  SET_GATE CPU_GATE_CLOSED, %r11
  movb $0, CPU(CPU_USER_MODE)
  mov CPU(CPU_VCPU_INFO), %r11
  movb $1, VCPU_INFO_MASK(%r11)
  mov %rax, VCPU_INFO_CR2(%r11)
  incq CPU(CPU_COUNT_FAULTS)
  mov USERS(ENTER_ROOT), %rax
  jmp *CPU(CPU_PAGE_FAULT_ENTRY)

// A fault in 32-bit code: the program ends.
fault_other:
  mov USERS(ENTER_ROOT), %rax
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  lea USERS(FAULT_RIP), %rdx
  jmp enter_saved

// From stub_fault_kernel: rax is cr2, the kernel's rax lies in kernel_rax.
.globl fault_kernel
fault_kernel:
  cmpl $MONITOR_ADDRESS_HIGH, EXCEPTIONS(OTHER_RIP + 4)
  je fault_monitor
  mov EXCEPTIONS(OTHER_RSP), %rsp
  and $-16, %rsp
  push $0x2b
  push EXCEPTIONS(OTHER_RSP)
  push EXCEPTIONS(OTHER_RFLAGS)
  push $0xe030
  push EXCEPTIONS(OTHER_RIP)
  push EXCEPTIONS(OTHER_ERROR)
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
  mov EXCEPTIONS(KERNEL_RAX), %rax
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

// The VMM sets rip to this when it injects into the kernel; rsp is still the kernel's.
.globl inject_kernel
inject_kernel:
  mov %rsp, CPU(CPU_DELIVER_SP)
  lea stack_top(%rip), %rsp
  SAVE_REGISTERS
  CALL_HANDLER CPU_ON_INJECT
  jmp deliver

// ---------------------------------------------------------------------------------------------------------
// The user's version of the entry page: gates at entry_start and at USER_INJECT_GATE, the last steps of a system call,
// and int3 wherever else a program may jump to.
.section .user, "ax"
user_page:
  .fill USER_CONTINUE, 1, 0xcc
// From stub_return: all is the user's but r11, which has the root still, and rip, which is in rcx. Where either
// instruction is interrupted, Deliver() says the user was at rcx, with this r11.
  mov $USER_CONTINUE_R11, %r11d
  jmp *%rcx
user_continue_end:
  .if user_continue_end - user_page != USER_CONTINUE_END
  .error "USER_CONTINUE_END is wrong"
  .endif
  .fill 4096 - USER_CONTINUE_END, 1, 0xcc

// ---------------------------------------------------------------------------------------------------------
.section .text, "ax"

// CallVmm(): a #UD, whose stub exits to the VMM; the arguments lie in Cpu::call.
.globl call_vmm
call_vmm:
  ud2
  ret

.section .header, "a"
  .quad 0x336e6f4d6d76686d  // "mhvmMon3"
  .quad stub_enter, stub_fault_user, stub_fault_kernel, stub_load, stub_return, stub_return_end
  .quad stub_return_full, stub_return_full_end, stub_exits
  .quad entry_start, hypercall_call, enter, fault_user, fault_kernel, inject_kernel
  .quad hypercall_return, hypercall_return_end, kernel_return, kernel_return_end
  .quad user_return, user_return_committed, user_return_end
  .quad user_return_full, user_return_full_committed, user_return_full_end
  .quad fault_monitor, monitor_dead, call_vmm
  .quad MonitorHypercall, MonitorEnter, MonitorInject, MonitorBadReturn
