// What hmvm-vmm-hostile can do, in the order of the numbers that it is told by. Shared by the program and by
// the test that judges it.
#pragma once

#include <cstddef>
#include <string_view>

namespace hmvm::test {

// The thread that turns hostile; the numbers are part of the order.
enum class Traitor { kVcpu, kDevice, kControl };

// Whose business the system call is anyway, so that a filter has to let it pass. What stops it then is what
// it was given: the descriptor's mode, the restrictions of the ring.
enum class Table {
  kForbidden,   // to all threads
  kOtherRoles,  // to this one; the guard, which knows one table of a whole VMM, lets it pass
  kAllowed,     // to this one too
};

struct HostileAttack {
  std::string_view name;  // "open-shadow"
  std::string_view what;  // a clause for people: "opens /etc/shadow"
  std::string_view call;  // the system call that the guard names; of several the first
  Traitor thread = Traitor::kVcpu;
  Table table = Table::kForbidden;
  // Why it may succeed where there is nothing but the jail; empty: it must not.
  std::string_view jail_leaves = {};
};

inline constexpr std::string_view kOnlyItself = "reaches nothing but its own process";
inline constexpr std::string_view kInItsJail = "what it makes lives in the same jail";
inline constexpr std::string_view kNoWritableDisks = "hmvm gives no container a writable disk";
inline constexpr std::string_view kOwnNetwork = "in an empty network of its own";
inline constexpr std::string_view kNobodyTakesIt = "nobody there takes descriptors: the kernel closes it";

inline constexpr HostileAttack kHostileAttacks[] = {
    // Files.
    {"openat", "opens /etc/shadow", "openat"},
    {"open", "the same, by the old system call", "open"},
    {"openat2", "the same, by the new one", "openat2"},
    {"openat-device", "the same, from the device thread", "openat", Traitor::kDevice},
    {"openat-control", "the same, from the control thread", "openat", Traitor::kControl},
    {"creat", "makes a file in its root", "creat"},
    {"open-by-handle", "opens inode 2 of its disk's file system by a handle", "open_by_handle_at"},
    {"uring-openat", "has its disk's io_uring open /etc/shadow", "", Traitor::kDevice, Table::kAllowed},
    {"uring-socket", "has its disk's io_uring make a socket", "", Traitor::kDevice, Table::kAllowed},
    {"uring-connect", "has its disk's io_uring connect a descriptor", "", Traitor::kDevice, Table::kAllowed},
    {"uring-unlink", "has its disk's io_uring remove a file", "", Traitor::kDevice, Table::kAllowed},
    {"uring-write", "has its disk's io_uring write to the control channel", "", Traitor::kDevice,
     Table::kAllowed},
    {"uring-command", "has its disk's io_uring send a command to a device", "", Traitor::kDevice,
     Table::kAllowed},
    {"uring-register", "lifts the restrictions of its disk's io_uring", "io_uring_register"},
    {"uring-setup", "makes an io_uring of its own", "io_uring_setup", Traitor::kVcpu, Table::kForbidden,
     "opens files as its own user only, and there are none"},
    {"proc-self-fd", "opens its read-only disk anew through /proc, to write", "openat"},
    {"write-read-only", "writes to its read-only disk", "write"},
    {"read-disk", "reads its disk, which the device thread alone may, from the control thread", "pread64",
     Traitor::kControl, Table::kForbidden, kOnlyItself},
    {"truncate-read-only", "cuts its read-only disk", "ftruncate", Traitor::kControl},
    {"fallocate-read-only", "punches a hole into its read-only disk", "", Traitor::kDevice, Table::kAllowed},
    {"mmap-read-only", "maps its read-only disk to write", "mmap"},
    {"fill-disk", "has its writable disk take half a TiB of the host's", "", Traitor::kDevice,
     Table::kAllowed, kNoWritableDisks},
    {"fill-disk-control", "the same, from the control thread", "pwrite64", Traitor::kControl,
     Table::kForbidden, kNoWritableDisks},
    {"unlink", "removes a file of the host's", "unlinkat"},
    {"fchmod", "changes the mode of its disk's file", "fchmod"},
    {"fsetxattr", "sets an attribute of its disk's file", "fsetxattr"},
    {"fcntl-flags", "takes a descriptor's flags away", "fcntl", Traitor::kVcpu, Table::kForbidden,
     kOnlyItself},
    {"flock", "locks its disk's file against all others", "flock", Traitor::kVcpu, Table::kForbidden,
     "a lock on its own files"},

    // Programs and processes.
    {"execve", "executes a shell", "execve"},
    {"execveat", "executes a program out of a descriptor", "execveat"},
    {"fork", "forks", "fork", Traitor::kVcpu, Table::kForbidden, kInItsJail},
    {"clone", "clones a process", "clone", Traitor::kVcpu, Table::kForbidden, kInItsJail},
    {"clone3", "the same, by the new system call", "clone3", Traitor::kVcpu, Table::kForbidden, kInItsJail},
    {"clone-namespaces", "clones a process with namespaces", "clone"},
    {"unshare-user", "takes a user namespace", "unshare", Traitor::kVcpu, Table::kForbidden, kInItsJail},
    {"unshare-mount", "takes a mount namespace", "unshare"},
    {"setns", "enters a namespace by a descriptor", "setns"},
    {"ptrace", "traces a neighbour", "ptrace"},
    {"process-vm-readv", "reads a neighbour's memory", "process_vm_readv"},
    {"process-vm-writev", "writes a neighbour's memory", "process_vm_writev"},
    {"pidfd-open", "takes hold of a neighbour", "pidfd_open"},
    {"kill", "kills a neighbour", "kill"},
    {"kill-all", "signals everybody", "kill", Traitor::kVcpu, Table::kForbidden,
     "there is nobody else in its PID namespace"},
    {"tgkill", "kills a neighbour's thread", "tgkill"},
    {"signal-queue", "queues signals for a neighbour, a hundred thousand", "rt_sigqueueinfo"},
    {"priority", "puts itself before all others", "setpriority"},
    {"realtime", "takes a real-time priority", "sched_setscheduler"},

    // The network.
    {"tcp", "connects to a TCP port", "socket"},
    {"udp", "sends a datagram", "socket"},
    {"raw", "opens a raw socket", "socket"},
    {"packet", "opens a packet socket", "socket"},
    {"unix", "connects to a UNIX socket by its path", "socket"},
    {"abstract", "connects to an abstract UNIX socket", "socket"},
    {"vsock", "connects to a vsock port of the host", "socket"},
    {"netlink", "makes a network device", "socket"},
    {"socket-device", "connects to a TCP port, from the device thread", "socket", Traitor::kDevice},
    {"listen", "waits for connections", "socket", Traitor::kVcpu, Table::kForbidden, kOwnNetwork},
    {"send-descriptor-agent", "sends its VM's descriptor on the agent's stream", "sendmsg", Traitor::kDevice,
     Table::kForbidden, kNobodyTakesIt},
    {"send-descriptor-control", "the same, on the control channel", "sendmsg", Traitor::kControl,
     Table::kForbidden, kNobodyTakesIt},
    {"send-descriptor-files", "the same, on the channel by which a snapshot's files come", "sendmsg",
     Traitor::kControl, Table::kForbidden, "nobody reads there: it goes with the socket"},
    {"send-descriptor-listener", "the same, on vsock's listener", "sendmsg", Traitor::kDevice},
    {"sendto-agent", "speaks as the control channel on the agent's socket", "sendto", Traitor::kControl,
     Table::kForbidden, "the supervisor's parser is the wall"},
    {"accept-control", "waits for a connection on another socket than the listener", "accept4",
     Traitor::kDevice},
    {"sendto-address", "sends from the control socket to an address", "sendto", Traitor::kControl},

    // Memory.
    {"mmap-exec", "maps memory to write and execute", "mmap"},
    {"mprotect-exec", "makes memory executable", "mprotect"},
    {"pkey-mprotect-exec", "the same, by the new system call", "pkey_mprotect"},
    {"memfd-exec", "executes what it has written to a memory file", "memfd_create", Traitor::kVcpu,
     Table::kForbidden, kOnlyItself},
    {"mmap-file", "maps its disk to execute", "mmap", Traitor::kVcpu, Table::kForbidden, kOnlyItself},
    {"remap-pages", "turns a mapping's pages around", "remap_file_pages"},
    {"userfaultfd", "takes the kernel's page faults into its hands", "userfaultfd", Traitor::kVcpu,
     Table::kForbidden, "its own faults only"},
    {"exhaust-memory", "takes all memory", "", Traitor::kVcpu, Table::kAllowed},
    {"mlockall", "locks memory", "mlockall"},

    // KVM and other devices.
    {"open-kvm", "opens /dev/kvm anew", "openat"},
    {"create-vm", "makes another VM of the descriptor it has", "ioctl", Traitor::kVcpu, Table::kForbidden,
     "a VM of its own, within its limits"},
    {"memory-region", "gives its VM other memory, from a vCPU's thread", "", Traitor::kVcpu,
     Table::kOtherRoles, kOnlyItself},
    {"run-vm", "runs a vCPU by the VM's descriptor", "ioctl"},
    {"memory-region-vcpu", "gives memory by a vCPU's descriptor", "ioctl"},
    {"ioctl-agent", "has an allowed ioctl go to a socket", "ioctl"},
    {"ioctl-console", "types into the terminal", "ioctl"},
    {"ioctl-disk", "asks its disk's file system for what it would freeze", "ioctl"},
    {"iopl", "asks for I/O ports", "iopl"},
    {"ioperm", "the same, by number", "ioperm"},
    {"kernel-memory", "opens /dev/mem and /proc/kcore", "openat"},

    // The kernel.
    {"mount", "mounts", "mount"},
    {"umount", "unmounts its root", "umount2"},
    {"pivot-root", "changes its root", "pivot_root"},
    {"chroot", "the same, by the old system call", "chroot"},
    {"open-tree", "clones a mount", "open_tree"},
    {"bpf", "loads a BPF program", "bpf"},
    {"perf", "opens a performance counter of the whole host", "perf_event_open"},
    {"keyctl", "asks for the session's keys", "keyctl", Traitor::kVcpu, Table::kForbidden,
     "a keyring of its own user"},
    {"add-key", "adds a key", "add_key", Traitor::kVcpu, Table::kForbidden, "a keyring of its own user"},
    {"setuid", "becomes root", "setuid"},
    {"setresuid", "the same, by the new system call", "setresuid"},
    {"setgroups", "takes root's group", "setgroups"},
    {"capset", "takes all capabilities", "capset"},
    {"module", "loads a kernel module", "finit_module"},
    {"kexec", "loads another kernel", "kexec_load"},
    {"reboot", "reboots", "reboot"},
    {"swapoff", "takes the swap away", "swapoff"},
    {"sethostname", "changes the host's name", "sethostname"},
    {"settime", "sets the clock", "clock_settime"},
    {"syslog", "reads the kernel's log", "syslog"},
    {"ldt", "changes its descriptor table", "modify_ldt", Traitor::kVcpu, Table::kForbidden, kOnlyItself},
    {"seccomp", "adds a filter of its own", "seccomp", Traitor::kVcpu, Table::kForbidden, kOnlyItself},
    {"dumpable", "makes itself dumpable", "prctl", Traitor::kVcpu, Table::kForbidden, kOnlyItself},
    {"raise-limits", "raises its limits", "prlimit64"},
    {"compat", "signals everybody by a 32-bit system call", "another ABI"},
    {"x32", "opens a file by an x32 system call", "another ABI"},

    // Too much of everything.
    {"exhaust-descriptors", "takes all descriptors", "dup"},
    {"exhaust-threads", "takes all threads", "clone"},
    {"flood-log", "writes a GiB to its log", "", Traitor::kVcpu, Table::kAllowed,
     "the supervisor keeps the end"},
    {"control-garbage", "writes nonsense to the control channel", "", Traitor::kControl, Table::kAllowed,
     "the supervisor's parser is the wall"},
    {"agent-garbage", "writes nonsense to the agent's socket", "", Traitor::kDevice, Table::kAllowed,
     "the supervisor's parser is the wall"},
};
inline constexpr size_t kHostileAttackCount = sizeof(kHostileAttacks) / sizeof(kHostileAttacks[0]);

// One byte each, the second begins it.
inline constexpr unsigned kTraitorPort = 0x4850;
inline constexpr unsigned kAttackPort = 0x4851;

// What it says on standard error: "attack NAME: " and one of these, the second with what stopped it.
inline constexpr std::string_view kDone = "done";
inline constexpr std::string_view kRefused = "refused: ";

// Descriptors that the test gives it; the VMM moves each to its class (security/fd_class.h).
inline constexpr int kControlFd = 3;
inline constexpr int kAgentFd = 4;
inline constexpr int kFilesFd = 5;
inline constexpr int kListenerFd = 6;
inline constexpr int kReadOnlyDiskFd = 10;
inline constexpr int kWritableDiskFd = 11;
// An environment variable: "PID TCP-PORT UNIX-PATH ABSTRACT-NAME" of what it shall try to reach.
inline constexpr char kTargetsVariable[] = "HMVM_HOSTILE_TARGETS";

// The same with the name of an attack, which it makes by itself early in a guest's boot, on a vCPU's thread.
inline constexpr char kAttackVariable[] = "HMVM_HOSTILE_ATTACK";

}  // namespace hmvm::test
