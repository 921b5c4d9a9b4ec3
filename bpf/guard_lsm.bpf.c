// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The guard by BPF LSM (5.7): what a sealed machine's VMM must not do fails, whatever way it was asked for.
 * Kernels under lockdown, or without "bpf" in lsm=, refuse to load this; the other layers do without.
 */
#include "vmlinux.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

#define EPERM 1

/* Handed by, never looked into. */
struct cred;
struct file;
struct kernel_siginfo;
struct linux_binprm;
struct path;
struct sockaddr;
struct socket;

/* 0, or an error for the caller; what an earlier module has refused stays refused. */
static __always_inline int deny(__u32 hook, int refused)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);
	struct guard_event *event;

	if (refused || !vm || vm->state != GUARD_SEALED)
		return refused;
	event = reserve_event(vm, cgroup);
	if (event) {
		fill_event(event, vm, cgroup, GUARD_LSM_DENIED, vm->audit ? GUARD_NOTED : GUARD_DENIED, hook,
			   NULL);
		bpf_ringbuf_submit(event, 0);
	}
	return vm->audit ? 0 : -EPERM;
}

SEC("lsm/file_open")
int BPF_PROG(guard_file_open, struct file *file, int refused)
{
	return deny(GUARD_LSM_FILE_OPEN, refused);
}

SEC("lsm/bprm_check_security")
int BPF_PROG(guard_execute, struct linux_binprm *program, int refused)
{
	return deny(GUARD_LSM_EXECUTE, refused);
}

SEC("lsm/socket_create")
int BPF_PROG(guard_socket_create, int family, int type, int protocol, int kernel, int refused)
{
	return deny(GUARD_LSM_SOCKET, refused);
}

/* Unix sockets, too, which the cgroup programs see since 6.7 only. */
SEC("lsm/socket_connect")
int BPF_PROG(guard_socket_connect, struct socket *socket, struct sockaddr *address, int length, int refused)
{
	return deny(GUARD_LSM_CONNECT, refused);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(guard_ptrace, struct task_struct *child, unsigned int mode, int refused)
{
	return deny(GUARD_LSM_PTRACE, refused);
}

SEC("lsm/sb_mount")
int BPF_PROG(guard_mount, const char *device, const struct path *path, const char *type, unsigned long flags,
	     void *data, int refused)
{
	return deny(GUARD_LSM_MOUNT, refused);
}

/* A VMM may signal its own threads, which is how vCPUs are kicked. */
SEC("lsm/task_kill")
int BPF_PROG(guard_kill, struct task_struct *target, struct kernel_siginfo *info, int number,
	     const struct cred *credentials, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return target->tgid == task->tgid ? refused : deny(GUARD_LSM_KILL, refused);
}

SEC("lsm/bpf")
int BPF_PROG(guard_bpf_call, int command, union bpf_attr *attributes, unsigned int size, int refused)
{
	return deny(GUARD_LSM_BPF, refused);
}

/* Modules, kexec images, firmware. */
SEC("lsm/kernel_read_file")
int BPF_PROG(guard_kernel_file, struct file *file, int id, bool contents, int refused)
{
	return deny(GUARD_LSM_KERNEL_FILE, refused);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
