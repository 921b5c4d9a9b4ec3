// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The guard on sockets: denies, where sys_enter can only kill. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"
#include "guard_maps.h"

/*
 * Cgroup programs, attached to the hierarchy's root once: they make the call fail, and load under lockdown. A
 * VMM has all its sockets from its supervisor, so one that makes, binds, connects or addresses one is lost.
 */
static __always_inline int deny_socket(__u32 what, __u32 family)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct guard_vm *vm = bpf_map_lookup_elem(&vms, &cgroup);
	__u64 arguments[GUARD_ARGUMENTS] = {family};
	struct guard_event *event;

	if (!vm)
		return 1;
	event = reserve_event(vm, cgroup);
	if (event) {
		fill_event(event, vm, cgroup, GUARD_SOCKET_DENIED, vm->audit ? GUARD_NOTED : GUARD_DENIED,
			   what, arguments);
		bpf_ringbuf_submit(event, 0);
	}
	return vm->audit ? 1 : 0;
}

SEC("cgroup/sock_create")
int guard_socket(struct bpf_sock *ctx)
{
	return deny_socket(GUARD_SOCKET_CREATE, ctx->family);
}

SEC("cgroup/bind4")
int guard_bind4(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_BIND, ctx->family);
}

SEC("cgroup/bind6")
int guard_bind6(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_BIND, ctx->family);
}

SEC("cgroup/connect4")
int guard_connect4(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_CONNECT, ctx->family);
}

SEC("cgroup/connect6")
int guard_connect6(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_CONNECT, ctx->family);
}

SEC("cgroup/sendmsg4")
int guard_send4(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_SEND, ctx->family);
}

SEC("cgroup/sendmsg6")
int guard_send6(struct bpf_sock_addr *ctx)
{
	return deny_socket(GUARD_SOCKET_SEND, ctx->family);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
