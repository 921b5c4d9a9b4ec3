// Says how the process that runs it is confined, as seen from inside and whatever the runtime: a line a fact,
// "OBJECT<tab>WHAT". Opens files and devices without reading or writing, and makes system calls with
// arguments that harm nobody where they are allowed.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

void Say(const std::string& object, const std::string& what) {
  std::printf("%s\t%s\n", object.c_str(), what.c_str());
}

std::string Outcome(long result) { return result < 0 ? ::strerrorname_np(errno) : "done"; }

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void Status() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key, rest, word;
    words >> key;
    while (words >> word) rest += (rest.empty() ? "" : " ") + word;
    for (const char* wanted : {"Umask:", "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:",
                               "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"}) {
      if (key == wanted) Say("status " + key.substr(0, key.size() - 1), rest);
    }
  }
  Say("process securebits", std::to_string(::prctl(PR_GET_SECUREBITS)));
  Say("process dumpable", std::to_string(::prctl(PR_GET_DUMPABLE)));
  Say("process personality", std::to_string(::personality(0xffffffff)));
  Say("process nice", std::to_string(::getpriority(PRIO_PROCESS, 0)));
  Say("process scheduler", std::to_string(::sched_getscheduler(0)));
  Say("process oom_score_adj", FirstLine("/proc/self/oom_score_adj"));
  Say("process uid_map", FirstLine("/proc/self/uid_map"));
  Say("process cwd", fs::current_path());
  utsname names = {};
  ::uname(&names);
  Say("process hostname", names.nodename);
}

void Limits() {
  constexpr const char* kNames[] = {"cpu",      "fsize",  "data",    "stack", "core",  "rss",
                                    "nproc",    "nofile", "memlock", "as",    "locks", "sigpending",
                                    "msgqueue", "nice",   "rtprio",  "rttime"};
  const auto text = [](rlim_t value) { return value == RLIM_INFINITY ? "none" : std::to_string(value); };
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit limit = {};
    ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
    Say(std::string("limit ") + kNames[resource], text(limit.rlim_cur) + ":" + text(limit.rlim_max));
  }
}

// What can be seen: a mount that others cover is left out.
void Mounts() {
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point, options, word, type;
    words >> id >> parent >> device >> root >> point >> options;
    while (words >> word && word != "-") {
    }
    words >> type;
    struct statx top = {};
    if (::statx(AT_FDCWD, point.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &top) == 0 &&
        std::to_string(top.stx_mnt_id) != id) {
      continue;
    }
    std::replace(options.begin(), options.end(), ',', ' ');
    std::istringstream flags(options);
    std::vector<std::string> sorted{std::istream_iterator<std::string>(flags), {}};
    std::ranges::sort(sorted);
    std::string text = type;
    for (const std::string& flag : sorted) text += " " + flag;
    Say("mount " + point, text);
  }
}

std::string Mode(const struct stat& status) {
  char mode[8];
  std::snprintf(mode, sizeof(mode), "%04o", status.st_mode & 07777);
  return std::string(mode) + " " + std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid);
}

void Dev() {
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator("/dev", error)) {
    struct stat status = {};
    if (::lstat(entry.path().c_str(), &status) < 0) continue;
    std::string what = Mode(status);
    if (S_ISLNK(status.st_mode)) {
      what = "-> " + fs::read_symlink(entry.path(), error).string();
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      what += std::string(S_ISBLK(status.st_mode) ? " block " : " char ") +
              std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
    }
    Say("node " + entry.path().string(), what);
  }
}

// Makes a node of each device and opens it.
void Devices() {
  struct Device {
    const char* name;
    mode_t type;
    unsigned major;
    unsigned minor;
  };
  constexpr Device kDevices[] = {{"mem", S_IFCHR, 1, 1},          {"null", S_IFCHR, 1, 3},
                                 {"port", S_IFCHR, 1, 4},         {"zero", S_IFCHR, 1, 5},
                                 {"full", S_IFCHR, 1, 7},         {"random", S_IFCHR, 1, 8},
                                 {"urandom", S_IFCHR, 1, 9},      {"kmsg", S_IFCHR, 1, 11},
                                 {"tty0", S_IFCHR, 4, 0},         {"ttyS0", S_IFCHR, 4, 64},
                                 {"ptmx", S_IFCHR, 5, 2},         {"hwrng", S_IFCHR, 10, 183},
                                 {"net/tun", S_IFCHR, 10, 200},   {"fuse", S_IFCHR, 10, 229},
                                 {"kvm", S_IFCHR, 10, 232},       {"loop-control", S_IFCHR, 10, 237},
                                 {"vhost-net", S_IFCHR, 10, 238}, {"hvc0", S_IFCHR, 229, 0},
                                 {"loop0", S_IFBLK, 7, 0},        {"sda", S_IFBLK, 8, 0},
                                 {"vda", S_IFBLK, 254, 0}};
  ::mkdir("/made", 0755);
  for (const Device& device : kDevices) {
    const std::string object = std::string("device ") + device.name;
    const std::string path = "/made/node";
    const long made = ::mknod(path.c_str(), device.type | 0666, makedev(device.major, device.minor));
    Say(object + " mknod", Outcome(made));
    if (made < 0) continue;
    for (const auto& [how, flags] : {std::pair("read", O_RDONLY), std::pair("write", O_WRONLY)}) {
      const int fd = ::open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
      Say(object + " " + how, Outcome(fd));
      if (fd >= 0) ::close(fd);
    }
    ::unlink(path.c_str());
  }
  // What the machine itself has, by the kernel's list, whatever it may be called.
  std::string opened;
  for (const char* list : {"/sys/dev/char", "/sys/dev/block"}) {
    const mode_t type = std::strstr(list, "block") != nullptr ? S_IFBLK : S_IFCHR;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(list, error)) {
      unsigned major_number = 0, minor_number = 0;
      if (std::sscanf(entry.path().filename().c_str(), "%u:%u", &major_number, &minor_number) != 2) continue;
      const char* const path = "/made/node";
      if (::mknod(path, type | 0666, makedev(major_number, minor_number)) < 0) continue;
      const int fd = ::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
      const bool refused = fd < 0 && errno == EPERM;
      if (fd >= 0) ::close(fd);
      ::unlink(path);
      // Terminals and the console itself are each runtime's own matter.
      if (!refused && major_number != 5 && !(major_number == 1 && minor_number > 1)) {
        opened += " " + entry.path().filename().string();
      }
    }
  }
  Say("device others that can be opened", opened);
}

// "read write", or what is behind it instead.
std::string Access(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) < 0) return "";
  if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)) return "null";
  std::error_code error;
  if (S_ISDIR(status.st_mode)) return fs::is_empty(path, error) ? "empty" : "folder";
  if (!S_ISREG(status.st_mode)) return "special";
  std::string access;
  for (const auto& [how, flags] : {std::pair("read", O_RDONLY), std::pair("write", O_WRONLY)}) {
    const int fd = ::open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    access += std::string(access.empty() ? "" : " ") + how + ":" + Outcome(fd);
    if (fd >= 0) ::close(fd);
  }
  return access;
}

// All files of /proc beside those of processes.
void Proc() {
  std::error_code error;
  for (const auto& top : fs::directory_iterator("/proc", error)) {
    const std::string name = top.path().filename();
    if (std::isdigit(static_cast<unsigned char>(name[0])) != 0 || top.is_symlink(error)) continue;
    Say("path " + top.path().string(), Access(top.path()));
    if (!top.is_directory(error)) continue;
    for (const auto& entry :
         fs::recursive_directory_iterator(top.path(), fs::directory_options::skip_permission_denied, error)) {
      if (!entry.is_symlink(error)) Say("path " + entry.path().string(), Access(entry.path()));
    }
  }
}

// Of /sys what is hidden, and whether anything of it can be written to.
void Sys() {
  for (const char* path :
       {"/sys/firmware", "/sys/devices/virtual/powercap", "/sys/fs/cgroup", "/sys/kernel"}) {
    if (const std::string access = Access(path); !access.empty()) Say(std::string("path ") + path, access);
  }
  std::error_code error;
  std::string writable;
  for (auto at =
           fs::recursive_directory_iterator("/sys", fs::directory_options::skip_permission_denied, error);
       at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at->is_symlink(error) || !at->is_regular_file(error)) continue;
    const int fd = ::open(at->path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    ::close(fd);
    writable += " " + at->path().string();
  }
  Say("path written to in /sys", writable);
}

template <typename Call>
void Try(const std::string& name, Call call) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);
    errno = 0;
    Say("call " + name, Outcome(call()));
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) Say("call " + name, std::string("signal ") + ::strsignal(WTERMSIG(status)));
}

// By their numbers, with arguments that none of them can use where it is allowed.
void CallsByNumber() {
  struct Call {
    const char* name;
    long number;
  };
  constexpr Call kCalls[] = {
      {"_sysctl", SYS__sysctl},
      {"acct", SYS_acct},
      {"add_key", SYS_add_key},
      {"bpf", SYS_bpf},
      {"chroot", SYS_chroot},
      {"clock_settime", SYS_clock_settime},
      {"create_module", SYS_create_module},
      {"delete_module", SYS_delete_module},
      {"fanotify_init", SYS_fanotify_init},
      {"finit_module", SYS_finit_module},
      {"fsconfig", SYS_fsconfig},
      {"fsmount", SYS_fsmount},
      {"fsopen", SYS_fsopen},
      {"fspick", SYS_fspick},
      {"get_kernel_syms", SYS_get_kernel_syms},
      {"get_mempolicy", SYS_get_mempolicy},
      {"init_module", SYS_init_module},
      {"io_uring_enter", SYS_io_uring_enter},
      {"io_uring_register", SYS_io_uring_register},
      {"io_uring_setup", SYS_io_uring_setup},
      {"ioperm", SYS_ioperm},
      {"iopl", SYS_iopl},
      {"kcmp", SYS_kcmp},
      {"kexec_file_load", SYS_kexec_file_load},
      {"kexec_load", SYS_kexec_load},
      {"keyctl", SYS_keyctl},
      {"lookup_dcookie", SYS_lookup_dcookie},
      {"mbind", SYS_mbind},
      {"mount", SYS_mount},
      {"mount_setattr", SYS_mount_setattr},
      {"move_mount", SYS_move_mount},
      {"move_pages", SYS_move_pages},
      {"nfsservctl", SYS_nfsservctl},
      {"open_by_handle_at", SYS_open_by_handle_at},
      {"open_tree", SYS_open_tree},
      {"perf_event_open", SYS_perf_event_open},
      {"pidfd_getfd", SYS_pidfd_getfd},
      {"pivot_root", SYS_pivot_root},
      {"process_madvise", SYS_process_madvise},
      {"process_vm_readv", SYS_process_vm_readv},
      {"process_vm_writev", SYS_process_vm_writev},
      {"query_module", SYS_query_module},
      {"quotactl", SYS_quotactl},
      {"reboot", SYS_reboot},
      {"request_key", SYS_request_key},
      {"set_mempolicy", SYS_set_mempolicy},
      {"setdomainname", SYS_setdomainname},
      {"sethostname", SYS_sethostname},
      {"setns", SYS_setns},
      {"settimeofday", SYS_settimeofday},
      {"swapoff", SYS_swapoff},
      {"swapon", SYS_swapon},
      {"sysfs", SYS_sysfs},
      {"syslog", SYS_syslog},
      {"umount2", SYS_umount2},
      {"unshare", SYS_unshare},
      {"uselib", SYS_uselib},
      {"userfaultfd", SYS_userfaultfd},
      {"ustat", SYS_ustat},
      {"vhangup", SYS_vhangup},
  };
  for (const Call& call : kCalls) {
    Try(call.name, [&call] { return ::syscall(call.number, -1L, -1L, -1L, -1L, -1L, -1L); });
  }
}

// What depends on its arguments.
void CallsByArguments() {
  for (const auto& [name, flag] :
       {std::pair("user", CLONE_NEWUSER), std::pair("mnt", CLONE_NEWNS), std::pair("pid", CLONE_NEWPID),
        std::pair("net", CLONE_NEWNET), std::pair("ipc", CLONE_NEWIPC), std::pair("uts", CLONE_NEWUTS),
        std::pair("cgroup", CLONE_NEWCGROUP), std::pair("time", 0x80)}) {
    Try(std::string("unshare, namespace ") + name, [flag = flag] { return ::unshare(flag); });
    if (flag == 0x80) continue;  // clone3's alone
    Try(std::string("clone, namespace ") + name, [flag = flag] {
      const long child = ::syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0);
      if (child == 0) ::_exit(0);
      return child;
    });
  }
  Try("clone3", [] { return ::syscall(SYS_clone3, nullptr, 0); });
  Try("ptrace, of itself", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  Try("personality, the present one", [] { return ::personality(0xffffffff); });
  Try("personality, without address randomization", [] { return ::personality(ADDR_NO_RANDOMIZE); });
  Try("personality, 32 bits", [] { return ::personality(PER_LINUX32); });
  Try("keyctl, its session's keyring",
      [] { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0); });
  Try("mount, tmpfs", [] { return ::mount("none", "/tmp", "tmpfs", 0, nullptr); });
  Try("perf_event_open, none", [] { return ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); });
  struct Kind {
    const char* name;
    int family, type, protocol;
  };
  constexpr Kind kSockets[] = {{"UNIX", AF_UNIX, SOCK_STREAM, 0},   {"IPv4", AF_INET, SOCK_STREAM, 0},
                               {"IPv6", AF_INET6, SOCK_DGRAM, 0},   {"netlink", AF_NETLINK, SOCK_RAW, 0},
                               {"raw IPv4", AF_INET, SOCK_RAW, 1},  {"packet", AF_PACKET, SOCK_RAW, 0},
                               {"vsock", AF_VSOCK, SOCK_STREAM, 0}, {"ALG", AF_ALG, SOCK_SEQPACKET, 0},
                               {"key", AF_KEY, SOCK_RAW, 2}};
  for (const Kind& kind : kSockets) {
    Try(std::string("socket ") + kind.name,
        [&kind] { return ::socket(kind.family, kind.type, kind.protocol); });
  }
}

}  // namespace

int main() {
  Status();
  Limits();
  Mounts();
  Dev();
  Proc();
  Sys();
  Devices();
  CallsByNumber();
  CallsByArguments();
  return 0;
}
