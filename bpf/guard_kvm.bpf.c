// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What each virtual machine leaves KVM_RUN for. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

#define EINTR		4
#define KVM_EXIT_INTR	10
#define KVM_EXIT_FAILED (GUARD_REASONS - 1) /* ours: KVM_RUN was an error */

/*
 * KVM_RUN is about to return to the VMM, on every KVM; exits that the kernel settles by itself are
 * guard_exit's. Where it failed, kvm_run still has the reason of the time before.
 */
SEC("tp_btf/kvm_userspace_exit")
int BPF_PROG(guard_userspace_exit, __u32 reason, int error)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);

	if (!vm)
		return 0;
	if (error < 0)
		reason = error == -EINTR ? KVM_EXIT_INTR : KVM_EXIT_FAILED;
	__sync_fetch_and_add(&vm->reasons[reason < GUARD_REASONS ? reason : KVM_EXIT_FAILED], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
