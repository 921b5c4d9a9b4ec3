/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps that the guard's objects share, and how a program tells of a breach. For programs only. */
#ifndef HMVM_BPF_GUARD_MAPS_H
#define HMVM_BPF_GUARD_MAPS_H

#define SIGKILL 9

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct guard_vm);
} vms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GUARD_POLICIES);
	__type(key, __u32);
	__type(value, struct guard_policy);
} policies SEC(".maps");

struct guard_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 10);
};

/*
 * Each machine's events go to its own supervisor, which makes the ring. The kernel waits for an RCU grace
 * period at each change of such a map, 8 to 16 ms: nobody's start or end may wait for that.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__array(values, struct guard_ring);
} rings SEC(".maps");

static __always_inline void fill_event(struct guard_event *event, const struct guard_vm *vm, __u64 cgroup,
				       __u32 kind, __u32 deed, __s32 number, const __u64 *arguments)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 ids;

	event->monotonic_ns = bpf_ktime_get_ns();
	event->cgroup = cgroup;
	event->kind = kind;
	event->deed = deed;
	event->state = vm->state;
	event->number = number;
	ids = bpf_get_current_pid_tgid();
	event->pid = ids >> 32;
	event->tid = ids;
	ids = bpf_get_current_uid_gid();
	event->uid = ids;
	event->gid = ids >> 32;
	for (int i = 0; i < GUARD_ARGUMENTS; i++)
		event->arguments[i] = arguments ? arguments[i] : 0;
	__builtin_memset(event->stack, 0, sizeof(event->stack));
	bpf_get_current_comm(event->thread, sizeof(event->thread));
	if (bpf_core_read_str(event->process, sizeof(event->process), &task->group_leader->comm) < 0)
		event->process[0] = 0;
}

/* Room for an event, or none: then it is counted. */
static __always_inline struct guard_event *reserve_event(struct guard_vm *vm, __u64 cgroup)
{
	void *ring = bpf_map_lookup_elem(&rings, &cgroup);
	struct guard_event *event = ring ? bpf_ringbuf_reserve(ring, sizeof(*event), 0) : NULL;

	if (!event)
		__sync_fetch_and_add(&vm->lost, 1);
	return event;
}

static __always_inline void tell(struct guard_vm *vm, __u64 cgroup, void *ctx, __u32 kind, __u32 deed,
				 __s32 number, const __u64 *arguments)
{
	struct guard_event *event;

	if (__sync_fetch_and_add(&vm->breaches, 1) == 0) {
		fill_event(&vm->first, vm, cgroup, kind, deed, number, arguments);
		bpf_get_stack(ctx, vm->first.stack, sizeof(vm->first.stack), BPF_F_USER_STACK);
	}
	event = reserve_event(vm, cgroup);
	if (!event)
		return;
	fill_event(event, vm, cgroup, kind, deed, number, arguments);
	bpf_get_stack(ctx, event->stack, sizeof(event->stack), BPF_F_USER_STACK);
	bpf_ringbuf_submit(event, 0);
}

/* The signal first: what is told of it can wait. */
static __always_inline void breach(struct guard_vm *vm, __u64 cgroup, void *ctx, __u32 kind, __s32 number,
				   const __u64 *arguments)
{
	if (!vm->audit)
		bpf_send_signal(SIGKILL);
	tell(vm, cgroup, ctx, kind, vm->audit ? GUARD_NOTED : GUARD_KILLED, number, arguments);
}

#endif
