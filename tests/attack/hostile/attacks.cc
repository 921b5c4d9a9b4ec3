#include "tests/attack/hostile/attacks.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_packet.h>
#include <linux/kvm.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>

#include "base/ttrpc/frame.h"
#include "security/fd_class.h"
#include "tests/attack/hostile/attack_list.h"

namespace hmvm::test {
namespace {

// Where the VMM has its descriptors.
constexpr int kControl = fd_class::kControl.first;
constexpr int kAgent = fd_class::kAgent.first;
constexpr int kFiles = fd_class::kFiles.first;
constexpr int kListener = fd_class::kListener.first;
constexpr int kReadOnlyDisk = fd_class::kDisks.first;
constexpr int kWritableDisk = kReadOnlyDisk + 1;
constexpr int kKvm = fd_class::kKvm.first;
constexpr int kVm = fd_class::kVm.first;
constexpr int kVcpu = fd_class::kVcpus.first;

constexpr char kShadow[] = "/etc/shadow";
constexpr size_t kPage = 4096;
constexpr int kDetach = 2;  // MNT_DETACH of sys/mount.h, which does not go together with linux/fs.h

std::string Errno(int code) {
  const char* const name = ::strerrorname_np(code);
  return name == nullptr ? std::to_string(code) : name;
}

// Of a system call that has done its harm if it did not fail.
std::string Stopped(long result) { return result < 0 ? Errno(errno) : ""; }

template <typename... Arguments>
std::string Call(long number, Arguments... arguments) {
  return Stopped(::syscall(number, arguments...));
}

// A file that could be opened must have something in it: an empty root may have the name.
std::string Read(long fd) {
  if (fd < 0) return Errno(errno);
  char byte;
  return ::read(static_cast<int>(fd), &byte, 1) == 1 ? "" : "nothing to read";
}

std::string Ring(const HostileTargets& targets, const std::function<void(io_uring_sqe*)>& prepare) {
  if (targets.ring == nullptr) return "it has no ring";
  io_uring_sqe* const entry = ::io_uring_get_sqe(targets.ring);
  if (entry == nullptr) return "its ring is full";
  prepare(entry);
  if (const int error = ::io_uring_submit(targets.ring); error < 0) return Errno(-error);
  io_uring_cqe* completion = nullptr;
  if (const int error = ::io_uring_wait_cqe(targets.ring, &completion); error < 0) return Errno(-error);
  const int result = completion->res;
  ::io_uring_cqe_seen(targets.ring, completion);
  return result < 0 ? Errno(-result) : "";
}

template <typename Address>
std::string Connect(int family, int type, int protocol, const Address& address) {
  const long fd = ::syscall(SYS_socket, family, type, protocol);
  if (fd < 0) return Errno(errno);
  return Call(SYS_connect, fd, &address, sizeof(address));
}

sockaddr_in Loopback(const HostileTargets& targets) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(targets.tcp_port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string ConnectTcp(const HostileTargets& targets) {
  return Connect(AF_INET, SOCK_STREAM, 0, Loopback(targets));
}

std::string SendUdp(const HostileTargets& targets) {
  const long fd = ::syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return Errno(errno);
  const sockaddr_in address = Loopback(targets);
  return Call(SYS_sendto, fd, "x", 1, 0, &address, sizeof(address));
}

std::string ConnectUnix(const std::string& name, bool abstract) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + (abstract ? 1 : 0), sizeof(address.sun_path) - 2);
  const long fd = ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return Errno(errno);
  const size_t length = offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 1 : 0);
  return Call(SYS_connect, fd, &address, length);
}

std::string ConnectVsock() {
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_LOCAL;
  address.svm_port = 77;
  return Connect(AF_VSOCK, SOCK_STREAM, 0, address);
}

std::string MakeNetworkDevice() {
  const long fd = ::syscall(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  if (fd < 0) return Errno(errno);
  struct {
    nlmsghdr header;
    ifinfomsg link;
    rtattr name;
    char text[8];
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  request.name = {.rta_len = sizeof(rtattr) + sizeof(request.text), .rta_type = IFLA_IFNAME};
  std::strcpy(request.text, "evil0");
  if (::write(static_cast<int>(fd), &request, sizeof(request)) < 0) return Errno(errno);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer = {};
  if (::read(static_cast<int>(fd), &answer, sizeof(answer)) < 0) return Errno(errno);
  return answer.error.error < 0 ? Errno(-answer.error.error) : "";
}

std::string Listen() {
  const long fd = ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return Errno(errno);
  const sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(4711), .sin_addr = {}, .sin_zero = {}};
  if (const std::string why = Call(SYS_bind, fd, &any, sizeof(any)); !why.empty()) return why;
  return Call(SYS_listen, fd, 1);
}

// Along with a frame of no type that ttrpc knows, so that who reads it goes on as if nothing had been.
std::string SendDescriptor(int socket) {
  std::array<char, kTtrpcHeaderBytes> frame = {};
  iovec vector = {frame.data(), frame.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> room = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &kVm, sizeof(int));
  return Call(SYS_sendmsg, socket, &message, MSG_NOSIGNAL);
}

// A child that was made is not let run on.
std::string Child(long pid) {
  if (pid == 0) ::syscall(SYS_exit_group, 0);
  return Stopped(pid);
}

std::string CloneWith(uint64_t flags) {
  return Child(::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0));
}

std::string Clone3() {
  clone_args arguments = {};
  arguments.exit_signal = SIGCHLD;
  return Child(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

std::string Execute() {
  char shell[] = "/bin/sh";
  char* const argv[] = {shell, nullptr};
  char* const environment[] = {nullptr};
  return Call(SYS_execve, shell, argv, environment);
}

std::string ExecuteDescriptor() {
  char name[] = "x";
  char* const argv[] = {name, nullptr};
  char* const environment[] = {nullptr};
  return Call(SYS_execveat, kReadOnlyDisk, "", argv, environment, AT_EMPTY_PATH);
}

std::string MapPage(int protection, int flags, int fd) {
  void* const at = ::mmap(nullptr, kPage, protection, flags, fd, 0);
  return at == MAP_FAILED ? Errno(errno) : "";
}

void* AnonymousPage() {
  return ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

std::string ExecuteMemoryFile() {
  const long fd = ::syscall(SYS_memfd_create, "x", 0);
  if (fd < 0) return Errno(errno);
  constexpr unsigned char kReturn[] = {0xc3};
  if (::write(static_cast<int>(fd), kReturn, 1) != 1) return Errno(errno);
  void* const at = ::mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, static_cast<int>(fd), 0);
  if (at == MAP_FAILED) return Errno(errno);
  reinterpret_cast<void (*)()>(at)();
  return "";
}

// Until nothing more is given, or the process is ended for it.
std::string ExhaustMemory() {
  constexpr size_t kStep = 64 << 20;
  for (;;) {
    void* const at = ::mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return Errno(errno);
    for (size_t i = 0; i < kStep; i += kPage) static_cast<volatile char*>(at)[i] = 1;
  }
}

// Half a TiB, of space and not of holes.
std::string FillDisk(Traitor traitor) {
  constexpr off_t kFar = off_t{512} << 30;
  if (traitor == Traitor::kDevice) return Call(SYS_fallocate, kWritableDisk, FALLOC_FL_KEEP_SIZE, 0, kFar);
  return Call(SYS_pwrite64, kWritableDisk, "x", 1, kFar);
}

std::string FloodLog() {
  static char text[65536];
  std::memset(text, '.', sizeof(text));
  text[sizeof(text) - 1] = '\n';
  for (size_t i = 0; i < (size_t{1} << 30) / sizeof(text); ++i) {
    if (::write(STDERR_FILENO, text, sizeof(text)) < 0) return Errno(errno);
  }
  return "";
}

std::string WriteNonsense(const std::function<ssize_t(iovec)>& write) {
  static char bytes[65536];
  uint64_t state = 88172645463325252;
  for (int round = 0; round < 64; ++round) {
    for (char& byte : bytes) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      byte = static_cast<char>(state);
    }
    const ssize_t written = write({bytes, sizeof(bytes)});
    if (written < 0) return round > 0 || errno == EAGAIN ? "" : Errno(errno);
  }
  return "";
}

std::string ExhaustDescriptors() {
  constexpr int kMany = 100'000;
  for (int i = 0; i < kMany; ++i) {
    if (::syscall(SYS_dup, STDERR_FILENO) < 0) return Errno(errno) + " after " + std::to_string(i);
  }
  return "";
}

std::string ExhaustThreads() {
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany; ++i) {
    const long pid = ::syscall(SYS_clone, uint64_t{SIGCHLD}, nullptr, nullptr, nullptr, 0);
    if (pid == 0) {
      for (;;) ::pause();
    }
    if (pid < 0) return Errno(errno) + " after " + std::to_string(i);
  }
  return "";
}

std::string QueueSignals(int pid) {
  constexpr int kMany = 100'000;
  siginfo_t info = {};
  info.si_code = SI_QUEUE;
  for (int i = 0; i < kMany; ++i) {
    if (::syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info) < 0) return Errno(errno);
  }
  return "";
}

std::string LoadBpf() {
  const std::array<bpf_insn, 2> program = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  static char license[] = "GPL";
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uint64_t>(program.data());
  attributes.insn_cnt = program.size();
  attributes.license = reinterpret_cast<uint64_t>(license);
  return Call(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));
}

std::string OpenCounter() {
  perf_event_attr attributes = {};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  return Call(SYS_perf_event_open, &attributes, -1, 0, -1, 0);
}

std::string TakeCapabilities() {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct data[2] = {{~0U, ~0U, 0}, {~0U, ~0U, 0}};
  return Call(SYS_capset, &header, data);
}

std::string RaiseLimits() {
  const rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  return Call(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, nullptr);
}

// kill(-1, SIGUSR1) as a 32-bit program makes it.
std::string KillAs32Bit() {
  constexpr int kKill = 37;
  int result;
  asm volatile("int $0x80"
               : "=a"(result)
               : "a"(kKill), "b"(-1), "c"(SIGUSR1)
               : "memory", "r8", "r9", "r10", "r11");
  return result < 0 ? Errno(-result) : "";
}

std::string Both(const std::function<std::string()>& first, const std::function<std::string()>& second) {
  const std::string why = first();
  return why.empty() ? second() : why;
}

std::string WriteRemotely(long number, int pid) {
  int value = 0;
  const iovec here = {&value, sizeof(value)};
  const iovec there = {reinterpret_cast<void*>(0x400000), sizeof(value)};
  return Call(number, pid, &here, 1, &there, 1, 0);
}

std::string OpenByHandle() {
  struct {
    unsigned bytes = 8;
    int type = 1;  // FILEID_INO32_GEN
    uint32_t inode = 2;
    uint32_t generation = 0;
  } handle;
  return Call(SYS_open_by_handle_at, kReadOnlyDisk, &handle, O_RDONLY);
}

std::string OpenTwo() {
  open_how how = {};
  how.flags = O_RDONLY;
  return Read(::syscall(SYS_openat2, AT_FDCWD, kShadow, &how, sizeof(how)));
}

std::string OpenReadOnlyAnew() {
  const std::string path = "/proc/self/fd/" + std::to_string(kReadOnlyDisk);
  return Call(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR);
}

using Deed = std::function<std::string(const HostileTargets&)>;

const std::map<std::string_view, Deed>& Deeds() {
  using T = const HostileTargets&;
  const auto open = [](T) { return Read(::syscall(SYS_openat, AT_FDCWD, kShadow, O_RDONLY)); };
  static const std::map<std::string_view, Deed> deeds = {
      {"openat", open},
      {"open", [](T) { return Read(::syscall(SYS_open, kShadow, O_RDONLY)); }},
      {"openat2", [](T) { return OpenTwo(); }},
      {"openat-device", open},
      {"openat-control", open},
      {"creat", [](T) { return Call(SYS_creat, "/x", 0600); }},
      {"open-by-handle", [](T) { return OpenByHandle(); }},
      {"uring-openat",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) { ::io_uring_prep_openat(e, AT_FDCWD, kShadow, O_RDONLY, 0); });
       }},
      {"uring-socket",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           ::io_uring_prep_rw(IORING_OP_SOCKET, e, AF_INET, nullptr, 0, SOCK_STREAM);
         });
       }},
      {"uring-connect",
       [](T t) {
         return Ring(t, [&](io_uring_sqe* e) {
           static sockaddr_in address;
           address = Loopback(t);
           ::io_uring_prep_connect(e, kAgent, reinterpret_cast<sockaddr*>(&address), sizeof(address));
         });
       }},
      {"uring-unlink",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) { ::io_uring_prep_unlinkat(e, AT_FDCWD, kShadow, 0); });
       }},
      {"uring-write",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           static iovec byte = {const_cast<char*>("x"), 1};
           ::io_uring_prep_writev(e, kControl, &byte, 1, 0);
         });
       }},
      {"uring-command",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           ::io_uring_prep_rw(IORING_OP_URING_CMD, e, kReadOnlyDisk, nullptr, 0, 0);
         });
       }},
      {"uring-register",
       [](T t) {
         const int fd = t.ring == nullptr ? -1 : t.ring->ring_fd;
         return Call(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, nullptr, 0);
       }},
      {"uring-setup",
       [](T) {
         io_uring_params parameters = {};
         return Call(SYS_io_uring_setup, 4, &parameters);
       }},
      {"proc-self-fd", [](T) { return OpenReadOnlyAnew(); }},
      {"write-read-only", [](T) { return Call(SYS_write, kReadOnlyDisk, "x", 1); }},
      {"read-disk", [](T) { return Call(SYS_pread64, kReadOnlyDisk, AnonymousPage(), 1, 0); }},
      {"truncate-read-only", [](T) { return Call(SYS_ftruncate, kReadOnlyDisk, 0); }},
      {"fallocate-read-only",
       [](T) {
         return Call(SYS_fallocate, kReadOnlyDisk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
       }},
      {"mmap-read-only", [](T) { return MapPage(PROT_READ | PROT_WRITE, MAP_SHARED, kReadOnlyDisk); }},
      {"fill-disk", [](T) { return FillDisk(Traitor::kDevice); }},
      {"fill-disk-control", [](T) { return FillDisk(Traitor::kControl); }},
      {"unlink", [](T) { return Call(SYS_unlinkat, AT_FDCWD, kShadow, 0); }},
      {"fchmod", [](T) { return Call(SYS_fchmod, kReadOnlyDisk, 0777); }},
      {"fsetxattr", [](T) { return Call(SYS_fsetxattr, kReadOnlyDisk, "user.x", "x", 1, 0); }},
      {"fcntl-flags", [](T) { return Call(SYS_fcntl, kControl, F_SETFD, 0); }},
      {"flock", [](T) { return Call(SYS_flock, kReadOnlyDisk, LOCK_EX | LOCK_NB); }},

      {"execve", [](T) { return Execute(); }},
      {"execveat", [](T) { return ExecuteDescriptor(); }},
      {"fork", [](T) { return Child(::syscall(SYS_fork)); }},
      {"clone", [](T) { return CloneWith(0); }},
      {"clone3", [](T) { return Clone3(); }},
      {"clone-namespaces", [](T) { return CloneWith(CLONE_NEWNET | CLONE_NEWNS); }},
      {"unshare-user", [](T) { return Call(SYS_unshare, CLONE_NEWUSER); }},
      {"unshare-mount", [](T) { return Call(SYS_unshare, CLONE_NEWNS); }},
      {"setns", [](T) { return Call(SYS_setns, kReadOnlyDisk, 0); }},
      {"ptrace", [](T t) { return Call(SYS_ptrace, PTRACE_ATTACH, t.pid, 0, 0); }},
      {"process-vm-readv", [](T t) { return WriteRemotely(SYS_process_vm_readv, t.pid); }},
      {"process-vm-writev", [](T t) { return WriteRemotely(SYS_process_vm_writev, t.pid); }},
      {"pidfd-open", [](T t) { return Call(SYS_pidfd_open, t.pid, 0); }},
      {"kill", [](T t) { return Call(SYS_kill, t.pid, SIGKILL); }},
      {"kill-all", [](T) { return Call(SYS_kill, -1, SIGUSR1); }},
      {"tgkill", [](T t) { return Call(SYS_tgkill, t.pid, t.pid, SIGKILL); }},
      {"signal-queue", [](T t) { return QueueSignals(t.pid); }},
      {"priority", [](T) { return Call(SYS_setpriority, PRIO_PROCESS, 0, -20); }},
      {"realtime",
       [](T) {
         const sched_param parameters = {.sched_priority = 50};
         return Call(SYS_sched_setscheduler, 0, SCHED_FIFO, &parameters);
       }},

      {"tcp", ConnectTcp},
      {"udp", SendUdp},
      {"raw", [](T) { return Call(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
      {"packet", [](T) { return Call(SYS_socket, AF_PACKET, SOCK_RAW, 0); }},
      {"unix", [](T t) { return ConnectUnix(t.unix_path, false); }},
      {"abstract", [](T t) { return ConnectUnix(t.abstract_name, true); }},
      {"vsock", [](T) { return ConnectVsock(); }},
      {"netlink", [](T) { return MakeNetworkDevice(); }},
      {"socket-device", ConnectTcp},
      {"listen", [](T) { return Listen(); }},
      {"send-descriptor-agent", [](T) { return SendDescriptor(kAgent); }},
      {"send-descriptor-control", [](T) { return SendDescriptor(kControl); }},
      {"send-descriptor-files", [](T) { return SendDescriptor(kFiles); }},
      {"send-descriptor-listener", [](T) { return SendDescriptor(kListener); }},
      {"sendto-agent", [](T) { return Call(SYS_sendto, kAgent, "x", 1, MSG_NOSIGNAL, nullptr, 0); }},
      {"accept-control", [](T) { return Call(SYS_accept4, kControl, nullptr, nullptr, 0); }},
      {"sendto-address",
       [](T t) {
         const sockaddr_in address = Loopback(t);
         return Call(SYS_sendto, kControl, "x", 1, MSG_NOSIGNAL, &address, sizeof(address));
       }},

      {"mmap-exec",
       [](T) { return MapPage(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1); }},
      {"mprotect-exec", [](T) { return Call(SYS_mprotect, AnonymousPage(), kPage, PROT_READ | PROT_EXEC); }},
      {"pkey-mprotect-exec",
       [](T) { return Call(SYS_pkey_mprotect, AnonymousPage(), kPage, PROT_READ | PROT_EXEC, -1); }},
      {"memfd-exec", [](T) { return ExecuteMemoryFile(); }},
      {"mmap-file", [](T) { return MapPage(PROT_READ | PROT_EXEC, MAP_PRIVATE, kReadOnlyDisk); }},
      {"remap-pages", [](T) { return Call(SYS_remap_file_pages, AnonymousPage(), kPage, 0, 0, 0); }},
      {"userfaultfd", [](T) { return Call(SYS_userfaultfd, O_CLOEXEC | 1); }},
      {"exhaust-memory", [](T) { return ExhaustMemory(); }},
      {"mlockall", [](T) { return Call(SYS_mlockall, 3); }},

      {"open-kvm", [](T) { return Call(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR); }},
      {"create-vm", [](T) { return Call(SYS_ioctl, kKvm, KVM_CREATE_VM, 0); }},
      {"memory-region",
       [](T) {
         const kvm_userspace_memory_region region = {};
         return Call(SYS_ioctl, kVm, KVM_SET_USER_MEMORY_REGION, &region);
       }},
      {"run-vm", [](T) { return Call(SYS_ioctl, kVm, KVM_RUN, 0); }},
      {"memory-region-vcpu",
       [](T) {
         const kvm_userspace_memory_region region = {};
         return Call(SYS_ioctl, kVcpu, KVM_SET_USER_MEMORY_REGION, &region);
       }},
      {"ioctl-agent", [](T) { return Call(SYS_ioctl, kAgent, KVM_RUN, 0); }},
      {"ioctl-console", [](T) { return Call(SYS_ioctl, STDERR_FILENO, TIOCSTI, "x"); }},
      {"ioctl-disk", [](T) { return Call(SYS_ioctl, kReadOnlyDisk, FIFREEZE, 0); }},
      {"iopl", [](T) { return Call(SYS_iopl, 3); }},
      {"ioperm", [](T) { return Call(SYS_ioperm, 0x80, 1, 1); }},
      {"kernel-memory",
       [](T) {
         return Both([] { return Call(SYS_openat, AT_FDCWD, "/dev/mem", O_RDONLY); },
                     [] { return Call(SYS_openat, AT_FDCWD, "/proc/kcore", O_RDONLY); });
       }},

      {"mount", [](T) { return Call(SYS_mount, "none", "/", "tmpfs", 0, nullptr); }},
      {"umount", [](T) { return Call(SYS_umount2, "/", kDetach); }},
      {"pivot-root", [](T) { return Call(SYS_pivot_root, "/", "/"); }},
      {"chroot", [](T) { return Call(SYS_chroot, "/"); }},
      {"open-tree", [](T) { return Call(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE); }},
      {"bpf", [](T) { return LoadBpf(); }},
      {"perf", [](T) { return OpenCounter(); }},
      {"keyctl", [](T) { return Call(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 1); }},
      {"add-key", [](T) { return Call(SYS_add_key, "user", "x", "x", 1, -4); }},
      {"setuid", [](T) { return Call(SYS_setuid, 0); }},
      {"setresuid", [](T) { return Call(SYS_setresuid, 0, 0, 0); }},
      {"setgroups",
       [](T) {
         const gid_t root = 0;
         return Call(SYS_setgroups, 1, &root);
       }},
      {"capset", [](T) { return TakeCapabilities(); }},
      {"module", [](T) { return Call(SYS_finit_module, kReadOnlyDisk, "", 0); }},
      {"kexec", [](T) { return Call(SYS_kexec_load, 0, 0, nullptr, 0); }},
      {"reboot", [](T) { return Call(SYS_reboot, 0xfee1dead, 672274793, RB_DISABLE_CAD, nullptr); }},
      {"swapoff", [](T) { return Call(SYS_swapoff, "/x"); }},
      {"sethostname", [](T) { return Call(SYS_sethostname, "x", 1); }},
      {"settime",
       [](T) {
         const timespec time = {};
         return Call(SYS_clock_settime, CLOCK_REALTIME, &time);
       }},
      {"syslog",
       [](T) {
         char text[64];
         return Call(SYS_syslog, 3, text, sizeof(text));
       }},
      {"ldt",
       [](T) {
         char text[64] = {};
         return Call(SYS_modify_ldt, 0, text, sizeof(text));
       }},
      {"seccomp",
       [](T) {
         sock_filter allow = {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ALLOW};
         const sock_fprog program = {.len = 1, .filter = &allow};
         return Call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
       }},
      {"dumpable", [](T) { return Call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"raise-limits", [](T) { return RaiseLimits(); }},
      {"compat", [](T) { return KillAs32Bit(); }},
      {"x32", [](T) { return Call(0x40000000 | SYS_open, kShadow, O_RDONLY); }},

      {"exhaust-descriptors", [](T) { return ExhaustDescriptors(); }},
      {"exhaust-threads", [](T) { return ExhaustThreads(); }},
      {"flood-log", [](T) { return FloodLog(); }},
      {"control-garbage",
       [](T) {
         return WriteNonsense([](iovec bytes) {
           return ::syscall(SYS_sendto, kControl, bytes.iov_base, bytes.iov_len, MSG_NOSIGNAL, nullptr, 0);
         });
       }},
      {"agent-garbage",
       [](T) { return WriteNonsense([](iovec bytes) { return ::writev(kAgent, &bytes, 1); }); }},
  };
  return deeds;
}

}  // namespace

std::string Attack(std::string_view name, const HostileTargets& targets) {
  const auto deed = Deeds().find(name);
  return deed == Deeds().end() ? "there is no such attack" : deed->second(targets);
}

}  // namespace hmvm::test
