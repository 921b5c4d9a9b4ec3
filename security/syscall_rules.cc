#include "security/syscall_rules.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "security/fd_class.h"

// Of Linux 6.3; its name is not in this Debian's headers.
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

namespace hmvm {
namespace {

using namespace fd_class;

constexpr uint64_t k32Bits = 0xffffffff;

// The kernel reads this argument as 32 bits: `int`, `unsigned int`.
constexpr ArgumentCheck Is(uint8_t index, uint32_t value) { return {index, k32Bits, value}; }
// All but these bits are 0 (`unsigned long`).
constexpr ArgumentCheck Within64(uint8_t index, uint64_t bits) { return {index, ~bits, 0}; }
// The descriptor in the first argument is of this class.
constexpr ArgumentCheck In(const FdClass& fds) {
  return {0, k32Bits & ~(static_cast<uint64_t>(fds.count) - 1), static_cast<uint64_t>(fds.first)};
}
constexpr ArgumentCheck Is64(uint8_t index, uint64_t value) { return {index, ~uint64_t{0}, value}; }

// The UAPI's structures with a flexible array are larger in C++ than in C, and with them their ioctls'
// numbers.
constexpr uint32_t kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8);
constexpr uint32_t kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8);
constexpr uint32_t kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, 4096);
constexpr uint32_t kGetXsave2 = _IOC(_IOC_READ, KVMIO, 0xcf, 4096);

// linux/futex.h: the operation's two flags.
constexpr uint32_t kFutexFlags = 128 | 256;
constexpr ArgumentCheck FutexIs(uint32_t operation) {
  return {1, k32Bits & ~uint64_t{kFutexFlags}, operation};
}

constexpr uint64_t kReadWrite = PROT_READ | PROT_WRITE;
constexpr uint32_t kStandardError = 2;
constexpr uint32_t kSelf = 1;         // the VMM is the first process of its PID namespace
constexpr uint32_t kKickSignal = 34;  // SIGRTMIN, which glibc computes at run time
constexpr uint32_t kTimerSignal = 35;

constexpr SyscallRule kCommonRules[] = {
    // Memory: the allocator's. Never executable, never a file.
    {SYS_brk, {}, "the allocator's heap"},
    {SYS_mmap,
     {Within64(2, kReadWrite), Is64(3, MAP_PRIVATE | MAP_ANONYMOUS)},
     "large allocations; no PROT_EXEC, no file, no fixed place"},
    {SYS_mmap,
     {Within64(2, kReadWrite), Is64(3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)},
     "an allocator's arena, the copy of a live snapshot's last pages"},
    {SYS_mprotect, {Within64(2, kReadWrite)}, "an arena grows; no PROT_EXEC"},
    {SYS_mremap, {Is64(3, MREMAP_MAYMOVE)}, "realloc of a large allocation"},
    {SYS_munmap, {}, "large allocations; the machine's memory at its end"},
    {SYS_madvise,
     {Is(2, MADV_DONTNEED)},
     "an arena shrinks, a thread's stack is given back; memory that a guest unplugs"},

    // Threads among themselves.
    {SYS_futex, {FutexIs(0)}, "FUTEX_WAIT: mutexes, joins"},
    {SYS_futex, {FutexIs(1)}, "FUTEX_WAKE"},
    {SYS_futex, {FutexIs(9)}, "FUTEX_WAIT_BITSET: condition variables"},
    {SYS_sched_yield, {}, "a vCPU waits for another; the standard library's latch"},
    {SYS_tgkill, {Is(0, kSelf)}, "kick a vCPU out of KVM_RUN; abort()"},
    {SYS_rt_sigprocmask, {}, "a halted vCPU looks for its kick; abort()"},
    {SYS_rt_sigreturn, {}, "after a kick"},
    {SYS_getpid, {}, "before a kick"},
    {SYS_gettid, {}, "log lines, timers"},
    {SYS_restart_syscall, {}, "the kernel's own, after a stop"},
    {SYS_exit, {}, "a thread's end"},
    {SYS_exit_group, {}, "the machine's end"},

    // Time: in the vDSO on most hosts.
    {SYS_clock_gettime, {}, "clocks; processor time has no vDSO"},
    {SYS_gettimeofday, {}, "log lines"},
    {SYS_time, {}, "log lines"},

    // Descriptors: the jail has closed all but the machine's own, and each has the number of its class.
    {SYS_read, {In(kEvents)}, "eventfds, timerfds"},
    {SYS_write, {In(kEvents)}, "eventfds"},
    {SYS_write, {In(kConsole)}, "console output"},
    {SYS_write, {Is(0, kStandardError)}, "log lines"},
    {SYS_close, {}, "what has served its purpose"},
    {SYS_poll, {}, "is there room in the console's pipe; wait for page faults"},
};

constexpr SyscallRule kVcpuRules[] = {
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_RUN)}, "enter the guest"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_REGS)}, "an exception's state (ring3), a failure's report"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_SET_REGS)}, "ring3: into the guest's handler"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_SREGS)}, "ring3: emulate an instruction; a failure's report"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_SET_SREGS)}, "ring3: into the guest's kernel; a vCPU's start"},
    {SYS_ioctl, {In(kVcpus), Is(1, kSetMsrs)}, "ring3: flush translations; a vCPU's start"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_SET_XCRS)}, "ring3: a vCPU's start"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_TRANSLATE)}, "a failure's report"},
    {SYS_ppoll, {Is64(0, 0), Is(1, 0)}, "ring3: a halted vCPU waits, for no descriptor"},
    {SYS_membarrier, {Is(0, MEMBARRIER_CMD_PRIVATE_EXPEDITED)}, "ring3: other vCPUs leave guest mode"},
    {SYS_timer_create, {}, "ring3: the vCPU's timer, at its first turn"},
    {SYS_timer_settime, {}, "ring3: the vCPU's timer"},
    {SYS_timer_gettime, {}, "ring3: is it armed"},
    {SYS_rt_sigaction, {Is(0, kKickSignal)}, "the first vCPU's thread: kicks only interrupt"},
    {SYS_rt_sigaction, {Is(0, kTimerSignal)}, "ring3: the vCPU's timer"},
    {SYS_io_uring_enter, {In(kRings)}, "a driver resets its disk: what is in flight ends first"},
    {SYS_shutdown, {In(kArriving)}, "a driver resets its vsock: the connections end"},
    {SYS_shutdown, {In(kAgent)}, "the same, the agent's"},
    {SYS_epoll_ctl, {In(kEvents)}, "the same: nobody watches them any more"},
};

constexpr SyscallRule kDeviceRules[] = {
    {SYS_epoll_wait, {In(kEvents)}, "the event loop"},
    {SYS_epoll_ctl, {In(kEvents)}, "connections come and go"},
    {SYS_timerfd_settime, {In(kEvents)}, "a disk's limits"},
    // Rings are made, and restricted to what a disk does, before the jail's last door closes.
    {SYS_io_uring_enter, {In(kRings)}, "disk: reads, writes, flushes, discards"},
    {SYS_preadv, {In(kDisks)}, "disk, on hosts without io_uring"},
    {SYS_pwritev2, {In(kDisks)}, "the same"},
    {SYS_fdatasync, {In(kDisks)}, "the same"},
    {SYS_fallocate, {In(kDisks)}, "the same: discards, zeroes"},
    {SYS_accept4,
     {In(kListener), Is64(1, 0)},
     "vsock: the host's side connects; nothing ever connects from here"},
    {SYS_recvfrom, {In(kArriving), Is64(4, 0)}, "vsock: the line that names a port"},
    // Not recvmsg and sendmsg, by which descriptors come and go.
    {SYS_readv, {In(kArriving)}, "vsock: the host's bytes"},
    {SYS_readv, {In(kAgent)}, "the same, the agent's"},
    {SYS_writev, {In(kArriving)}, "vsock: the guest's bytes"},
    {SYS_writev, {In(kAgent)}, "the same, the agent's"},
    {SYS_shutdown, {In(kArriving)}, "vsock: one direction ends"},
    {SYS_shutdown, {In(kAgent)}, "the same, the agent's"},
    {SYS_getrandom, {}, "rng"},
    {SYS_membarrier, {Is(0, MEMBARRIER_CMD_PRIVATE_EXPEDITED)}, "ring3: interrupt a vCPU"},
};

constexpr SyscallRule kControlRules[] = {
    {SYS_prctl, {Is64(0, PR_SET_MDWE), Is64(1, PR_MDWE_REFUSE_EXEC_GAIN)}, "the seal"},
    {SYS_epoll_wait, {In(kEvents)}, "the event loop"},
    {SYS_epoll_ctl, {In(kEvents)}, "the control channel has room or has none"},
    {SYS_recvfrom, {In(kControl), Is64(4, 0)}, "control channel: requests"},
    {SYS_sendto, {In(kControl), Is64(4, 0), Is(5, 0)}, "control channel: answers; to its own peer only"},
    {SYS_recvmsg, {In(kFiles)}, "the files of a snapshot come"},
    {SYS_shutdown, {In(kArriving)}, "the end of a connection"},
    {SYS_shutdown, {In(kAgent)}, "the same, the agent's"},

    // A snapshot's files, which come by a channel of their own.
    {SYS_ftruncate, {In(kArriving)}, "the memory's size"},
    {SYS_pwrite64, {In(kArriving)}, "the memory"},
    {SYS_write, {In(kArriving)}, "the machine's state"},
    {SYS_lseek, {In(kArriving)}, "the end of a file"},
    {SYS_fstat, {In(kArriving)}, "a file's size"},
    {SYS_newfstatat,
     {In(kArriving), Is(3, AT_EMPTY_PATH)},
     "the same, by glibc 2.33 and later: of a descriptor, as there are no names here"},
    {SYS_pread64, {In(kPagemap)}, "which pages were touched"},
    {SYS_pread64, {In(kCounters)}, "KVM's counters"},
    {SYS_io_uring_enter, {In(kRings)}, "what is in flight ends first"},
    {SYS_membarrier, {Is(0, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)}, "track written pages"},
    {SYS_membarrier, {Is(0, MEMBARRIER_CMD_PRIVATE_EXPEDITED)}, "the same; ring3: interrupt a vCPU"},
    {SYS_timer_gettime, {}, "ring3: a vCPU's timer"},
    {SYS_timer_delete, {}, "ring3: the machine's end"},

    // What a machine's state is read with.
    {SYS_ioctl, {In(kVm), Is(1, KVM_SET_USER_MEMORY_REGION)}, "log the guest's writes, or no longer"},
    {SYS_ioctl, {In(kVm), Is(1, KVM_GET_DIRTY_LOG)}, "the pages that the guest has written"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_REGS)}, "a vCPU's registers"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_SREGS)}, "the same, before Linux 5.14"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_SREGS2)}, "a vCPU's segments and control registers"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_XCRS)}, "a vCPU's extended control registers"},
    {SYS_ioctl, {In(kVcpus), Is(1, kGetXsave)}, "a vCPU's vector registers"},
    {SYS_ioctl, {In(kVcpus), Is(1, kGetXsave2)}, "the same, of more than a page"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_DEBUGREGS)}, "a vCPU's breakpoints"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_MP_STATE)}, "does a vCPU run, wait or sleep"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_LAPIC)}, "a vCPU's interrupt controller"},
    {SYS_ioctl, {In(kVcpus), Is(1, kGetMsrs)}, "a vCPU's model-specific registers"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_GET_VCPU_EVENTS)}, "a vCPU's pending events"},
    {SYS_ioctl, {In(kVm), Is(1, KVM_GET_IRQCHIP)}, "the machine's interrupt controllers"},
    {SYS_ioctl, {In(kVm), Is(1, KVM_GET_PIT2)}, "the machine's timer"},
    {SYS_ioctl, {In(kVm), Is(1, KVM_GET_CLOCK)}, "the machine's clock"},
    {SYS_ioctl, {In(kVcpus), Is(1, KVM_KVMCLOCK_CTRL)}, "the guest's watchdog hears of the pause"},
};

constexpr SyscallRule kWorkerRules[] = {
    {SYS_madvise, {Is(2, MADV_POPULATE_WRITE)}, "pages that every start writes to"},
    {SYS_pread64, {In(kSnapshot)}, "the snapshot's files"},
    {SYS_fstat, {In(kSnapshot)}, "their sizes"},
    {SYS_newfstatat, {In(kSnapshot), Is(3, AT_EMPTY_PATH)}, "the same, by glibc 2.33 and later"},
    {SYS_read, {In(kUserfaultfd)}, "which page the guest waits for"},
    {SYS_ioctl,
     {In(kUserfaultfd), Is(1, static_cast<uint32_t>(UFFDIO_COPY))},
     "a page that the guest waits for"},
    {SYS_ioctl,
     {In(kUserfaultfd), Is(1, static_cast<uint32_t>(UFFDIO_ZEROPAGE))},
     "one that it gave back and takes again"},
    {SYS_ioctl, {In(kUserfaultfd), Is(1, static_cast<uint32_t>(UFFDIO_WAKE))}, "one that is there already"},
};

constexpr SyscallRule kSetUpRules[] = {
    // Between birth and exec (base/process), and the dynamic loader.
    {SYS_execve, {}, "the one exec; the seal ends it"},
    {SYS_arch_prctl, {}, "thread-local storage"},
    {SYS_set_tid_address, {}, "the first thread"},
    {SYS_set_robust_list, {}, "each thread"},
    {SYS_rseq, {}, "each thread"},
    {SYS_prlimit64, {}, "stack size; the jail's limits"},
    {SYS_getppid, {}, "is the supervisor still there"},
    {SYS_setsid, {}, "a session of its own"},
    {SYS_dup2, {}, "descriptors to their places"},
    {SYS_fcntl, {}, "the same, and close-on-exec"},
    {SYS_openat, {}, "libraries, /proc; nothing after the jail"},
    {SYS_access, {}, "libraries"},
    {SYS_readlink, {}, "libraries"},
    {SYS_readlinkat, {}, "libraries"},
    {SYS_getdents64, {}, "KVM's modules in sysfs"},
    {SYS_statfs, {}, "libraries"},
    {SYS_uname, {}, "does a snapshot fit this host"},
    {SYS_sysinfo, {}, "does the guest fit this host"},
    {SYS_sched_getaffinity, {}, "number of processors"},
    {SYS_socket, {Is(0, AF_UNIX)}, "glog asks nscd for the user's name, before main, if USER is not set"},
    {SYS_connect, {}, "the same"},
    {SYS_getuid, {}, "libraries"},
    {SYS_geteuid, {}, "libraries"},
    {SYS_getgid, {}, "libraries"},
    {SYS_getegid, {}, "libraries"},

    // Before each descriptor has its place.
    {SYS_read, {}, "libraries, files, probe"},
    {SYS_write, {}, "the jail's maps of users, log lines"},
    {SYS_epoll_ctl, {}, "the event loops"},
    {SYS_timerfd_settime, {}, "ring3's clock"},
    {SYS_recvfrom, {}, "glog and nscd, as above"},
    {SYS_sendto, {}, "the same"},

    // The jail.
    {SYS_mount, {}, "an empty root"},
    {SYS_pivot_root, {}, "an empty root"},
    {SYS_umount2, {}, "the host's tree goes"},
    {SYS_chdir, {}, "an empty root"},
    {SYS_fchdir, {}, "an empty root"},
    {SYS_umask, {}, "no rights by default"},
    {SYS_close_range, {}, "descriptors without a name"},
    {SYS_unshare, {Within64(0, CLONE_NEWUSER)}, "a user namespace"},
    {SYS_setgroups, {}, "no groups"},
    {SYS_setresgid, {}, "the machine's own group"},
    {SYS_setresuid, {}, "the machine's own user"},
    {SYS_capset, {}, "no capabilities"},
    {SYS_capget, {}, "no capabilities"},
    {SYS_prctl, {}, "no new privileges, not dumpable, the bounding set, thread names; the seal"},
    {SYS_landlock_create_ruleset, {}, "no file access"},
    {SYS_landlock_restrict_self, {}, "no file access"},
    {SYS_seccomp, {}, "the filters of the roles"},

    // The machine.
    {SYS_clone, {}, "threads"},
    {SYS_clone3, {}, "threads"},
    {SYS_ioctl, {}, "KVM: probe, make and restore a machine"},
    {SYS_mmap, {}, "libraries, the guest's memory"},
    {SYS_mprotect, {}, "libraries"},
    {SYS_madvise, {}, "the guest's memory"},
    {SYS_rt_sigaction, {}, "kicks, SIGPIPE"},
    {SYS_sigaltstack, {}, "libraries"},
    {SYS_signalfd4, {}, "SIGTERM"},
    {SYS_eventfd2, {}, "notifications, interrupts"},
    {SYS_epoll_create1, {}, "the event loops"},
    {SYS_timerfd_create, {}, "a disk's limits, ring3's clock"},
    {SYS_timer_create, {}, "probe"},
    {SYS_timer_settime, {}, "probe"},
    {SYS_timer_delete, {}, "probe"},
    {SYS_io_uring_setup, {}, "disk"},
    {SYS_io_uring_register, {}, "disk: restrict the ring"},
    {SYS_userfaultfd, {}, "the memory of an exported snapshot"},
    {SYS_membarrier, {}, "ring3"},
    {SYS_getrandom, {}, "the standard library's"},
    {SYS_getsockname, {}, "vsock"},
    {SYS_ppoll, {}, "waits"},
    {SYS_fstat, {}, "files' sizes"},
    {SYS_newfstatat, {}, "files' sizes"},
    {SYS_lseek, {}, "a disk's size, the state's beginning"},
    {SYS_pread64, {}, "the snapshot's memory"},
    {SYS_preadv, {}, "the snapshot's memory"},
};

}  // namespace

std::string_view NameOf(ThreadRole role) {
  switch (role) {
    case ThreadRole::kControl:
      return "control";
    case ThreadRole::kDevice:
      return "device";
    case ThreadRole::kVcpu:
      return "vcpu";
    case ThreadRole::kWorker:
      return "worker";
  }
  return "";
}

std::span<const SyscallRule> CommonRules() { return kCommonRules; }

std::span<const SyscallRule> RulesFor(ThreadRole role) {
  switch (role) {
    case ThreadRole::kControl:
      return kControlRules;
    case ThreadRole::kDevice:
      return kDeviceRules;
    case ThreadRole::kVcpu:
      return kVcpuRules;
    case ThreadRole::kWorker:
      return kWorkerRules;
  }
  return {};
}

std::span<const SyscallRule> SetUpRules() { return kSetUpRules; }

}  // namespace hmvm
