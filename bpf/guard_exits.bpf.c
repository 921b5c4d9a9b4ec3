// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* All exits of each virtual machine, also those that the kernel settles by itself. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

/* Tens of thousands a second: a program of its own, so that its price is paid only while somebody looks. */
SEC("tp_btf/kvm_exit")
int BPF_PROG(guard_exit)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);

	if (vm)
		__sync_fetch_and_add(&vm->exits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
