/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What our programs touch of the kernel's structs: names and types only. Where a field lies is asked of the
 * running kernel's BTF at load time (CO-RE), so building needs no kernel's headers or BTF.
 */
#ifndef HMVM_BPF_VMLINUX_H
#define HMVM_BPF_VMLINUX_H

#include <linux/bpf.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
};

struct thread_info {
	__u32 status;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

union __sifields {
	struct {
		void *_call_addr;
		int _syscall;
		unsigned int _arch;
	} _sigsys;
};

struct kernel_siginfo {
	struct {
		int si_signo;
		int si_errno;
		int si_code;
		union __sifields _sifields;
	};
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	char comm[16];
};

struct io_kiocb {
	__u8 opcode;
};

#pragma clang attribute pop

#endif
