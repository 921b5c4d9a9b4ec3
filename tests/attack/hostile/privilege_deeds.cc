// What needs rights, or would give some.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>

#include <array>

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

constexpr int kDetach = 2;  // MNT_DETACH of sys/mount.h, which does not go together with linux/mount.h

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

}  // namespace

const Deeds& PrivilegeDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
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
  };
  return deeds;
}

}  // namespace hmvm::test
