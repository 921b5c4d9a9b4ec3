#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "base/file.h"
#include "base/process.h"
#include "security/jail.h"

// Of Linux 6.3; its name is not in this Debian's headers.
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

namespace hmvm {

const uint64_t kJailNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

namespace {

Result<> Check(long result, const char* what) {
  if (result < 0) return Error{errno, std::string("jail: ") + what};
  return {};
}

Result<> CloseAllBut(std::span<const int> files) {
  std::vector<int> kept = {STDERR_FILENO};
  for (const int file : files) {
    if (file > STDERR_FILENO) kept.push_back(file);
  }
  std::ranges::sort(kept);
  for (size_t i = 0; i < kept.size(); ++i) {
    const auto first = static_cast<unsigned>(kept[i]) + 1;
    const auto last = i + 1 < kept.size() ? static_cast<unsigned>(kept[i + 1]) - 1 : ~0U;
    if (first <= last) HMVM_TRY(Check(::close_range(first, last, 0), "close_range"));
  }
  return {};
}

// Mounted over a folder that every host has, as a root has to be a mount; then the host's tree, under it,
// goes.
Result<> EmptyRoot() {
  constexpr char kPlace[] = "/proc";
  constexpr unsigned long kFlags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  HMVM_TRY(Check(::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "make the mounts private"));
  HMVM_TRY(Check(::mount("hmvm", kPlace, "tmpfs", kFlags, "mode=0555,size=4k,nr_inodes=1"),
                 "mount an empty root"));
  HMVM_TRY(Check(::chdir(kPlace), "enter the empty root"));
  HMVM_TRY(Check(::syscall(SYS_pivot_root, ".", "."), "pivot_root"));
  HMVM_TRY(Check(::umount2(".", MNT_DETACH), "unmount the host's tree"));
  return Check(::chdir("/"), "enter the empty root");
}

// What a machine needs at most, and some to spare.
Result<> LimitResources() {
  constexpr struct {
    decltype(RLIMIT_CORE) resource;
    rlim_t most;
  } kLimits[] = {
      {RLIMIT_CORE, 0},           // guest memory on the host's disk
      {RLIMIT_NOFILE, 4096},      // vsock connections
      {RLIMIT_NPROC, 1024},       // threads of this user, KVM's and io_uring's included
      {RLIMIT_SIGPENDING, 1024},  // timers
      {RLIMIT_MSGQUEUE, 0},      {RLIMIT_MEMLOCK, 8 << 20},  // io_uring's rings, on kernels before 5.12
      {RLIMIT_RTPRIO, 0},        {RLIMIT_NICE, 0},
  };
  for (const auto& [resource, most] : kLimits) {
    rlimit limit;
    HMVM_TRY(Check(::getrlimit(resource, &limit), "getrlimit"));
    limit.rlim_max = std::min(limit.rlim_max, most);
    limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
    HMVM_TRY(Check(::setrlimit(resource, &limit), "setrlimit"));
  }
  return {};
}

Result<> SetCapabilities(uint64_t effective, uint64_t permitted) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  for (size_t word = 0; word < std::size(data); ++word) {
    data[word].effective = static_cast<uint32_t>(effective >> (32 * word));
    data[word].permitted = static_cast<uint32_t>(permitted >> (32 * word));
  }
  return Check(::syscall(SYS_capset, &header, data), "capset");
}

constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }

// Root's capabilities are kept for what is left to do; `user` has none of them any more.
Result<> BecomeUser(uid_t user) {
  constexpr uint64_t kLeft = Bit(CAP_SYS_ADMIN) | Bit(CAP_SETPCAP);
  HMVM_TRY(Check(::prctl(PR_SET_KEEPCAPS, 1), "keep capabilities"));
  HMVM_TRY(Check(::setgroups(0, nullptr), "setgroups"));
  HMVM_TRY(Check(::setresgid(user, user, user), "setresgid"));
  HMVM_TRY(Check(::setresuid(user, user, user), "setresuid"));
  return SetCapabilities(kLeft, kLeft);
}

Result<> WriteAt(int folder, const char* name, const std::string& text) {
  const UniqueFd file(::openat(folder, name, O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return Error{errno, std::string("jail: open ") + name};
  const auto written = WriteAll(file.get(), text);
  if (!written.has_value()) return Error{written.error().code, std::string("jail: write ") + name};
  return {};
}

// A user namespace in which the one user is the machine's: what a kernel flaw may give back of capabilities
// is worth nothing outside. `process` is /proc/self of the host. Returns why this host gives none; empty: it
// has.
Result<std::string> EnterUserNamespace(int process, uid_t user) {
  if (::unshare(CLONE_NEWUSER) < 0) return Error{errno, "the jail has no user namespace"}.Message();
  // For the moment of writing the maps, as they belong to root otherwise.
  HMVM_TRY(Check(::prctl(PR_SET_DUMPABLE, 1), "PR_SET_DUMPABLE"));
  const std::string itself = std::to_string(user) + " " + std::to_string(user) + " 1\n";
  HMVM_TRY(WriteAt(process, "setgroups", "deny"));
  HMVM_TRY(WriteAt(process, "gid_map", itself));
  HMVM_TRY(WriteAt(process, "uid_map", itself));
  return std::string();
}

Result<> DropPrivileges() {
  constexpr int kMostCapabilities = 64;
  for (int capability = 0; capability < kMostCapabilities; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability) == 0) continue;
    if (errno == EINVAL) break;  // no more of them
    return Error{errno, "jail: drop a capability"};
  }
  constexpr unsigned long kLocked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  HMVM_TRY(Check(::prctl(PR_SET_SECUREBITS, kLocked), "PR_SET_SECUREBITS"));
  HMVM_TRY(SetCapabilities(0, 0));
  HMVM_TRY(Check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS"));
  HMVM_TRY(Check(::prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE"));
  // The change of user has undone what base/process set. The supervisor's end meanwhile shows in the control
  // channel.
  return Check(::prctl(PR_SET_PDEATHSIG, SIGKILL), "PR_SET_PDEATHSIG");
}

// Of landlock_ruleset_attr as it grew: each version knows a longer one.
struct LandlockRules {
  uint64_t files;
  uint64_t network;
  uint64_t scopes;
};

int LandlockVersion() {
  return static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

// Everything that this kernel's Landlock can refuse is refused. Descriptors that are open stay as they are.
Result<> RefuseFiles(int version) {
  constexpr int kFileRights[] = {0, 13, 14, 15, 15, 16};  // how many bits each version knows
  const int known = std::min<int>(version, std::size(kFileRights) - 1);
  LandlockRules rules = {.files = (uint64_t{1} << kFileRights[known]) - 1, .network = 0, .scopes = 0};
  if (version >= 4) rules.network = 3;  // bind and connect of TCP
  if (version >= 6) rules.scopes = 3;   // abstract UNIX sockets and signals of others
  const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, size, 0)));
  if (!ruleset.valid()) return Error{errno, "jail: landlock_create_ruleset"};
  return Check(::syscall(SYS_landlock_restrict_self, ruleset.get(), 0), "landlock_restrict_self");
}

// Whether a child can be born with these flags.
std::string WhyNoChild(uint64_t namespaces) {
  auto child = Process::Start({.arguments = {"/bin/true"}, .namespaces = namespaces});
  if (!child.has_value()) return child.error().Message();
  (void)child->Wait();
  return "";
}

}  // namespace

Result<std::vector<std::string>> Jail::Enter() const {
  if (::getpid() != 1 || ::geteuid() != 0) {
    return Error{EPERM, "jail: the process must be root, and the first of its PID namespace"};
  }
  std::vector<std::string> missing;
  HMVM_TRY(CloseAllBut(files));
  HMVM_TRY_ASSIGN(const UniqueFd process, OpenFile("/proc/self", O_PATH | O_DIRECTORY));
  HMVM_TRY(EmptyRoot());
  HMVM_TRY(LimitResources());
  ::umask(0777);
  HMVM_TRY(BecomeUser(user));
  HMVM_TRY_ASSIGN(const std::string why, EnterUserNamespace(process.get(), user));
  if (!why.empty()) missing.push_back(why);
  HMVM_TRY(DropPrivileges());
  if (const int version = LandlockVersion(); version > 0) {
    HMVM_TRY(RefuseFiles(version));
  } else {
    missing.push_back(Error{errno, "the jail has no Landlock"}.Message());
  }
  return missing;
}

Result<> Seal() {
  if (::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0 && errno != EINVAL) {
    return Error{errno, "PR_SET_MDWE"};
  }
  return {};
}

std::string WhyNoNamespaces() { return WhyNoChild(kJailNamespaces); }
std::string WhyNoUserNamespace() { return WhyNoChild(CLONE_NEWUSER); }
std::string WhyNoLandlock() { return LandlockVersion() > 0 ? "" : Error{errno, "Landlock"}.Message(); }

}  // namespace hmvm
