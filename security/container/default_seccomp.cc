// The two profiles of our own, as tables: a line says what its calls are for.
#include <linux/capability.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <initializer_list>
#include <sstream>
#include <string_view>

#include "base/capabilities.h"
#include "security/container/seccomp_profile.h"
#include "security/container/syscall_names.h"

namespace hmvm {
namespace {

struct Calls {
  const char* what_for;
  const char* names;
};

constexpr Calls kAllowed[] = {
    {"to begin, end and find out about oneself",
     "execve execveat exit exit_group fork vfork wait4 waitid restart_syscall arch_prctl prctl "
     "set_tid_address "
     "set_robust_list get_robust_list rseq getpid getppid gettid getcpu uname sysinfo times getrusage "
     "get_thread_area set_thread_area"},
    {"users, groups, sessions, capabilities: the kernel asks for these itself",
     "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid "
     "setresgid setgroups setfsuid setfsgid getpgid getpgrp setpgid getsid setsid capget capset umask"},
    {"memory",
     "brk mmap munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall "
     "remap_file_pages membarrier memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect mseal "
     "map_shadow_stack process_mrelease"},
    {"to open and close files",
     "open openat openat2 creat close close_range dup dup2 dup3 fcntl flock pipe pipe2 name_to_handle_at"},
    {"to read and write them",
     "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek sendfile splice tee "
     "vmsplice "
     "copy_file_range readahead fadvise64 fallocate truncate ftruncate fsync fdatasync sync syncfs "
     "sync_file_range cachestat ioctl"},
    {"names and what is known of files",
     "access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs statmount listmount "
     "getcwd "
     "chdir fchdir mkdir mkdirat rmdir link linkat symlink symlinkat readlink readlinkat rename renameat "
     "renameat2 unlink unlinkat mknod mknodat getdents getdents64"},
    {"owners, modes, times, attributes of files",
     "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat getxattr "
     "lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr "
     "listxattrat removexattr lremovexattr fremovexattr removexattrat"},
    {"to wait for files, and asynchronous I/O",
     "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait "
     "epoll_wait_old "
     "epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 inotify_add_watch "
     "inotify_rm_watch "
     "fanotify_mark io_setup io_submit io_cancel io_getevents io_pgetevents io_destroy"},
    {"sockets; which kinds of them, see below",
     "socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt sendto "
     "sendmsg "
     "sendmmsg recvfrom recvmsg recvmmsg shutdown"},
    {"signals",
     "rt_sigaction rt_sigprocmask rt_sigpending rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend "
     "rt_sigtimedwait sigaltstack signalfd signalfd4 kill tkill tgkill pause alarm pidfd_open "
     "pidfd_send_signal"},
    {"time",
     "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep getitimer setitimer "
     "timer_create "
     "timer_delete timer_settime timer_gettime timer_getoverrun timerfd_create timerfd_settime "
     "timerfd_gettime"},
    {"to set clocks: the kernel asks for CAP_SYS_TIME, reading is for all", "adjtimex clock_adjtime"},
    {"threads that wait for each other", "futex futex_waitv futex_wait futex_wake futex_requeue"},
    {"scheduling and limits",
     "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler "
     "sched_setscheduler sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min "
     "sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64"},
    {"IPC of System V and POSIX",
     "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink "
     "mq_timedsend mq_timedreceive mq_notify mq_getsetattr"},
    {"random numbers", "getrandom"},
    {"a program that confines itself further",
     "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"},
    {"to look at one's own processes, as debuggers and tests of memory do",
     "ptrace process_vm_readv process_vm_writev"},
    {"segments of a program's own, for emulators", "modify_ldt"},
    {"the kernel's own detour for probes of returning functions", "uretprobe"},
};

struct CallsWith {
  int capability;
  const char* names;
};

// What the kernel refuses without the capability, so that a filter in its way would only surprise.
constexpr CallsWith kAllowedWith[] = {
    {CAP_DAC_READ_SEARCH, "open_by_handle_at"},
    {CAP_SYS_MODULE, "init_module finit_module delete_module"},
    {CAP_SYS_RAWIO, "iopl ioperm"},
    {CAP_SYS_CHROOT, "chroot"},
    {CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {CAP_SYS_PACCT, "acct"},
    {CAP_SYS_ADMIN,
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
     "lsm_set_self_attr lsm_list_modules mount mount_setattr move_mount open_tree perf_event_open quotactl "
     "quotactl_fd setdomainname sethostname setns syslog umount2 unshare"},
    {CAP_SYS_BOOT, "reboot"},
    {CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {CAP_SYS_TIME, "settimeofday clock_settime"},
    {CAP_SYS_TTY_CONFIG, "vhangup"},
    {CAP_SYSLOG, "syslog"},
    {CAP_PERFMON, "perf_event_open"},
    {CAP_BPF, "bpf"},
};

// New namespaces are CAP_SYS_ADMIN's, and user namespaces would give it to anybody.
constexpr uint64_t kNamespaceFlags =
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

// Execution domains without effect on other programs, and the question which one it is.
constexpr uint64_t kPersonalities[] = {PER_LINUX, PER_LINUX32, UNAME26, uint64_t{PER_LINUX32} | UNAME26,
                                       0xffffffff};

// Kinds of sockets that are not: one way past the machine's borders, and one into the kernel's cryptography,
// which sends too much code to be looked after. Kinds that this kernel does not have say so themselves.
constexpr int kForbiddenSockets[] = {AF_ALG, AF_VSOCK};

// What `strict` takes away from the default. Each has been a way into the kernel before, and few programs
// miss it.
constexpr Calls kRarelyNeeded[] = {
    {"other processes' memory and registers",
     "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise process_mrelease"},
    {"other execution domains, segments and ports", "personality modify_ldt iopl ioperm uretprobe"},
    {"files by handle, mounts by number", "name_to_handle_at open_by_handle_at statmount listmount"},
    {"device files", "mknod mknodat"},
    {"old asynchronous I/O, and descriptors turned into pages",
     "io_setup io_submit io_cancel io_getevents "
     "io_pgetevents io_destroy vmsplice remap_file_pages"},
    {"clocks and ports of the machine", "adjtimex clock_adjtime settimeofday clock_settime"},
    {"memory that the kernel itself can't see", "memfd_secret map_shadow_stack"},
    {"IPC of System V and POSIX",
     "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink "
     "mq_timedsend mq_timedreceive mq_notify mq_getsetattr"},
    {"another root, and news of all of a file system", "chroot fanotify_init fanotify_mark"},
    {"real-time scheduling", "sched_setscheduler sched_setattr sched_setparam ioprio_set"},
    {"what is CAP_SYS_ADMIN's, even for those who have it",
     "bpf perf_event_open mount mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick umount2 "
     "unshare "
     "setns quotactl quotactl_fd lookup_dcookie syslog acct reboot init_module finit_module delete_module "
     "set_mempolicy_home_node vhangup"},
};
// The kinds of sockets that are left.
constexpr int kStrictSockets[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

std::vector<int> Numbers(const char* names) {
  std::vector<int> numbers;
  std::istringstream words(names);
  for (std::string name; words >> name;) {
    const auto found = FindSyscall(name);
    assert(found.has_value() && found->number.has_value());  // the table's test goes through all
    numbers.push_back(*found->number);
  }
  return numbers;
}

SeccompRow OneArgument(const char* name, ArgumentTest check) {
  return {.calls = Numbers(name), .checks = {check}};
}

}  // namespace

SeccompProfile DefaultSeccomp() {
  using enum ArgumentTest::Compare;
  constexpr uint64_t kSysAdmin = CapabilityBit(CAP_SYS_ADMIN);
  SeccompProfile profile;
  for (const Calls& calls : kAllowed) profile.rows.push_back({.calls = Numbers(calls.names)});
  for (const CallsWith& calls : kAllowedWith) {
    profile.rows.push_back({.calls = Numbers(calls.names), .needs = CapabilityBit(calls.capability)});
  }
  SeccompRow clone = OneArgument("clone", {.compare = kMaskedEqual, .value = 0, .mask = kNamespaceFlags});
  clone.without = kSysAdmin;
  profile.rows.push_back(std::move(clone));
  // Its flags are in memory, where a filter can't look: libraries fall back to clone if it does not seem to
  // exist.
  profile.rows.push_back({.calls = Numbers("clone3"), .verdict = FailWith(ENOSYS), .without = kSysAdmin});
  for (const uint64_t personality : kPersonalities) {
    profile.rows.push_back(OneArgument("personality", {.value = personality}));
  }
  for (const int kind : kForbiddenSockets) {
    SeccompRow row = OneArgument("socket", {.value = static_cast<uint64_t>(kind)});
    row.verdict = profile.otherwise;
    profile.rows.push_back(std::move(row));
  }
  profile.rows.push_back(OneArgument("socket", {.compare = kLess, .value = AF_MAX}));
  return profile;
}

SeccompProfile StrictSeccomp() {
  SeccompProfile profile = DefaultSeccomp();
  std::vector<int> removed = Numbers("socket");  // comes again below
  for (const Calls& calls : kRarelyNeeded)
    std::ranges::move(Numbers(calls.names), std::back_inserter(removed));
  for (SeccompRow& row : profile.rows) {
    std::erase_if(row.calls, [&](int call) { return std::ranges::find(removed, call) != removed.end(); });
  }
  for (const int kind : kStrictSockets) {
    profile.rows.push_back(OneArgument("socket", {.value = static_cast<uint64_t>(kind)}));
  }
  return profile;
}

}  // namespace hmvm
