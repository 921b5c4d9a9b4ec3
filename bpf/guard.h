/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The guard's wire: what its programs and their loader (security/guard) share in maps and in the ring.
 * Whoever changes a struct or a map changes GUARD_WIRE: two guards with the same number share their maps.
 */
#ifndef HMVM_BPF_GUARD_H
#define HMVM_BPF_GUARD_H

#include <linux/types.h>

#define GUARD_WIRE 1

#define GUARD_POLICIES	32  /* kept at a time; virtual machines share them */
#define GUARD_SYSCALLS	512 /* numbers from here on are never allowed */
#define GUARD_ROWS	512 /* of one policy, for all system calls together */
#define GUARD_CALL_ROWS 128 /* of one system call in one state */
#define GUARD_CHECKS	3   /* of one row */
#define GUARD_ARGUMENTS 6
#define GUARD_STACK	16
#define GUARD_NAME	64
#define GUARD_COMM	16
#define GUARD_REASONS	64 /* KVM_EXIT_*; the last is an error of KVM_RUN, and reasons above it */

/* A virtual machine monitor is born setting up, and sealed for ever by prctl(GUARD_SEAL, ...). */
#define GUARD_SEAL 65 /* PR_SET_MDWE, since Linux 6.3; what an older kernel answers does not matter */

enum guard_state {
	GUARD_SETTING_UP,
	GUARD_SEALED,
	GUARD_STATES,
};

/* Of one system call in one state. */
enum guard_verdict {
	GUARD_FORBIDDEN,
	GUARD_ALLOWED,
	GUARD_BY_ROWS, /* allowed if one of the rows fits */
};

struct guard_call {
	__u16 first_row;
	__u8 rows;
	__u8 verdict;
};

/* Fits if (argument & mask) == value for each check; those that are not needed have mask and value 0. */
struct guard_row {
	__u64 mask[GUARD_CHECKS];
	__u64 value[GUARD_CHECKS];
	__u8 argument[GUARD_CHECKS];
	__u8 checks;
	__u8 padding[4];
};

struct guard_policy {
	__u64 used;	   /* 0: the slot is free */
	__u64 uring_calls; /* bit N: the io_uring operation N */
	struct guard_call calls[GUARD_STATES][GUARD_SYSCALLS];
	struct guard_row rows[GUARD_ROWS];
};

enum guard_event_kind {
	GUARD_SYSCALL_BREACH = 1,
	GUARD_COMPAT_BREACH,  /* a 32-bit or x32 system call */
	GUARD_URING_BREACH,   /* number: the operation */
	GUARD_SOCKET_DENIED,  /* number: enum guard_socket_call */
	GUARD_NEW_PROCESS,    /* of a sealed one; number: its id */
	GUARD_NEW_PROGRAM,    /* the same, number is 0 */
	GUARD_LSM_DENIED,     /* number: enum guard_lsm_hook */
	GUARD_SECCOMP_KILLED, /* number: the system call that a filter has ended the process for */
};

enum guard_socket_call {
	GUARD_SOCKET_CREATE,
	GUARD_SOCKET_BIND,
	GUARD_SOCKET_CONNECT,
	GUARD_SOCKET_SEND,
};

enum guard_lsm_hook {
	GUARD_LSM_FILE_OPEN,
	GUARD_LSM_EXECUTE,
	GUARD_LSM_SOCKET,
	GUARD_LSM_CONNECT,
	GUARD_LSM_PTRACE,
	GUARD_LSM_MOUNT,
	GUARD_LSM_KILL,
	GUARD_LSM_BPF,
	GUARD_LSM_KERNEL_FILE,
};

enum guard_deed {
	GUARD_NOTED,  /* nothing was done */
	GUARD_DENIED, /* the call failed */
	GUARD_KILLED, /* SIGKILL was sent to the process */
};

struct guard_event {
	__u64 monotonic_ns;
	__u64 cgroup;
	__u32 kind;
	__u32 deed;
	__u32 state;
	__s32 number;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u64 arguments[GUARD_ARGUMENTS];
	__u64 stack[GUARD_STACK]; /* of user space, innermost first; the rest is 0 */
	char thread[GUARD_COMM];
	char process[GUARD_COMM];
};

/* What is kept of a virtual machine; its key is the id of its cgroup of version 2. */
struct guard_vm {
	__u32 policy; /* slot */
	__u32 state;  /* enum guard_state */
	__u32 audit;  /* a breach is told, not punished */
	__u32 padding;
	__u64 breaches;
	__u64 lost;	 /* events for which there was no room, or no ring yet */
	__u64 processes; /* new ones, and new programs: */
	__u64 programs;
	__u64 uring;		  /* io_uring operations */
	__u64 exits;		  /* KVM_RUN left for whatever reason, counted while guard_exits is loaded */
	char name[GUARD_NAME];	  /* the container's id; not terminated if it fills the field */
	struct guard_event first; /* breach: kept here, as a ring takes milliseconds to come into place */
	__u64 reasons[GUARD_REASONS]; /* KVM_RUN left to user space */
	__u64 calls[GUARD_SYSCALLS];
};

#ifdef __cplusplus
#define _Static_assert static_assert
#endif
_Static_assert(sizeof(struct guard_call) == 4, "wire");
_Static_assert(sizeof(struct guard_row) == 56, "wire");
_Static_assert(sizeof(struct guard_policy) == 16 + 2 * 512 * 4 + 512 * 56, "wire");
_Static_assert(sizeof(struct guard_vm) == 128 + 256 + 64 * 8 + 512 * 8, "wire");
_Static_assert(sizeof(struct guard_event) == 256, "wire");

#endif
