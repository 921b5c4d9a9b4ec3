// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The guard: sees from outside what each virtual machine monitor asks of the kernel, compares it with the
 * machine's policy, and ends a process that asks for anything else. Program types that load under
 * lockdown=integrity only; what BPF LSM adds is in guard_lsm.bpf.c.
 */
#include "vmlinux.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

#define SYS_PRCTL   157
#define SIGSYS	    31
#define SYS_SECCOMP 1	/* asm-generic/siginfo.h: si_code of a filter's SIGSYS */
#define TS_COMPAT   0x2 /* asm/thread_info.h: the system call now running is a 32-bit one */

static __always_inline bool row_fits(const struct guard_row *row, const __u64 *arguments)
{
	for (int i = 0; i < GUARD_CHECKS; i++) {
		if (i >= row->checks)
			break;
		if ((arguments[row->argument[i] & 7] & row->mask[i]) != row->value[i])
			return false;
	}
	return true;
}

static __always_inline bool some_row_fits(const struct guard_policy *policy, const struct guard_call *call,
					  const __u64 *arguments)
{
	for (__u32 i = 0; i < GUARD_CALL_ROWS; i++) {
		if (i >= call->rows)
			break;
		if (row_fits(&policy->rows[(call->first_row + i) & (GUARD_ROWS - 1)], arguments))
			return true;
	}
	return false;
}

/*
 * Every system call of the host while the guard is loaded: most leave after one look into a hash table. The
 * raw tracepoint with BTF (5.5) is the one place that sees them all, has the registers at hand and loads
 * under lockdown. The signal meets the process before it is back in user space; the call itself may still be
 * done, which is why there are layers that deny.
 */
SEC("tp_btf/sys_enter")
int BPF_PROG(guard_sys_enter, struct pt_regs *regs, long id)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);
	__u64 arguments[8];
	const struct guard_policy *policy;
	const struct guard_call *call;
	struct task_struct *task;
	__u32 number = id;
	__u32 state;

	if (!vm)
		return 0;
	arguments[0] = regs->di;
	arguments[1] = regs->si;
	arguments[2] = regs->dx;
	arguments[3] = regs->r10;
	arguments[4] = regs->r8;
	arguments[5] = regs->r9;
	arguments[6] = 0;
	arguments[7] = 0;
	task = bpf_get_current_task_btf();
	if (number >= GUARD_SYSCALLS || task->thread_info.status & TS_COMPAT) {
		breach(vm, cgroup, ctx, GUARD_COMPAT_BREACH, id, arguments);
		return 0;
	}
	__sync_fetch_and_add(&vm->calls[number], 1);
	/* The last call of the set-up is part of it. */
	state = vm->state == GUARD_SEALED ? GUARD_SEALED : GUARD_SETTING_UP;
	if (number == SYS_PRCTL && (__u32)arguments[0] == GUARD_SEAL)
		vm->state = GUARD_SEALED;
	policy = bpf_map_lookup_elem(&policies, &vm->policy);
	if (!policy)
		return 0;
	call = &policy->calls[state][number];
	if (call->verdict == GUARD_ALLOWED)
		return 0;
	if (call->verdict == GUARD_BY_ROWS && some_row_fits(policy, call, arguments))
		return 0;
	breach(vm, cgroup, ctx, GUARD_SYSCALL_BREACH, id, arguments);
	return 0;
}

/*
 * A new process, not a new thread; the caller is the parent. The jail makes some during the set-up; a sealed
 * one could not come here by its policy, so this is for the case that the policy is wrong.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(guard_fork, struct task_struct *parent, struct task_struct *child)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);

	if (!vm || child->pid != child->tgid)
		return 0;
	__sync_fetch_and_add(&vm->processes, 1);
	if (vm->state == GUARD_SEALED)
		breach(vm, cgroup, ctx, GUARD_NEW_PROCESS, child->pid, NULL);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(guard_exec)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);

	if (!vm)
		return 0;
	__sync_fetch_and_add(&vm->programs, 1);
	if (vm->state == GUARD_SEALED)
		breach(vm, cgroup, ctx, GUARD_NEW_PROGRAM, 0, NULL);
	return 0;
}

/*
 * A filter of seccomp's ends a process before sys_enter hears of the call: the signal that the kernel makes
 * of that names it (5.16). Nothing is to be done but to tell; the signal's lock is held.
 */
SEC("tp_btf/signal_generate")
int BPF_PROG(guard_signal, int signal, struct kernel_siginfo *info, struct task_struct *task)
{
	__u64 arguments[GUARD_ARGUMENTS];
	struct pt_regs *regs;
	struct guard_vm *vm;
	__u64 cgroup;

	if (signal != SIGSYS || BPF_CORE_READ(info, si_code) != SYS_SECCOMP)
		return 0;
	cgroup = bpf_get_current_cgroup_id();
	vm = bpf_map_lookup_elem(&vms, &cgroup);
	if (!vm)
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	arguments[0] = BPF_CORE_READ(regs, di);
	arguments[1] = BPF_CORE_READ(regs, si);
	arguments[2] = BPF_CORE_READ(regs, dx);
	arguments[3] = BPF_CORE_READ(regs, r10);
	arguments[4] = BPF_CORE_READ(regs, r8);
	arguments[5] = BPF_CORE_READ(regs, r9);
	tell(vm, cgroup, ctx, GUARD_SECCOMP_KILLED, GUARD_KILLED,
	     BPF_CORE_READ(info, _sifields._sigsys._syscall), arguments);
	return 0;
}

/* What a supervisor that was killed could not take away: the machine's entry goes with its cgroup. */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(guard_rmdir, struct cgroup *removed)
{
	__u64 cgroup = removed->kn->id;

	bpf_map_delete_elem(&vms, &cgroup);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
