// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The guard on io_uring: what it does leaves no system call that could be compared. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

static __always_inline void check(void *ctx, struct io_kiocb *request)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);
	const struct guard_policy *policy;
	__u32 operation;

	if (!vm)
		return;
	__sync_fetch_and_add(&vm->uring, 1);
	operation = request->opcode;
	policy = bpf_map_lookup_elem(&policies, &vm->policy);
	if (!policy || (operation < 64 && policy->uring_calls >> operation & 1))
		return;
	breach(vm, cgroup, ctx, GUARD_URING_BREACH, operation, NULL);
}

/* Each operation, before it is begun. Two names of one hook: the loader takes the one that there is. */
SEC("tp_btf/io_uring_submit_req") /* since 6.4 */
int BPF_PROG(guard_uring, struct io_kiocb *request)
{
	check(ctx, request);
	return 0;
}

SEC("tp_btf/io_uring_submit_sqe") /* 6.0 to 6.3; before, its arguments were others */
int BPF_PROG(guard_uring_6_0, struct io_kiocb *request)
{
	check(ctx, request);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
