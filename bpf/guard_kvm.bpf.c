// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What each virtual machine leaves KVM_RUN for. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

/* KVM_RUN is about to return to the VMM; the kernel's own exits are guard_exit's. */
SEC("tp_btf/kvm_userspace_exit")
int BPF_PROG(guard_userspace_exit, __u32 reason)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);

	if (!vm)
		return 0;
	__sync_fetch_and_add(&vm->reasons[reason < GUARD_REASONS ? reason : GUARD_REASONS - 1], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
