#include "security/container/syscall_names.h"

#include <seccomp.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

namespace hmvm {
namespace {

struct NewSyscall {
  std::string_view name;
  int number;
};

// What is newer than Debian 12's libseccomp (2.5.4): include/uapi/asm-generic/unistd.h and
// arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.17.
constexpr NewSyscall kNewer[] = {
    {"uretprobe", 335},        {"uprobe", 336},        {"cachestat", 451},         {"fchmodat2", 452},
    {"map_shadow_stack", 453}, {"futex_wake", 454},    {"futex_wait", 455},        {"futex_requeue", 456},
    {"statmount", 457},        {"listmount", 458},     {"lsm_get_self_attr", 459}, {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461}, {"mseal", 462},         {"setxattrat", 463},        {"getxattrat", 464},
    {"listxattrat", 465},      {"removexattrat", 466}, {"open_tree_attr", 467},    {"file_getattr", 468},
    {"file_setattr", 469},
};

}  // namespace

std::optional<SyscallName> FindSyscall(const std::string& name) {
  const auto* const newer = std::ranges::find(kNewer, name, &NewSyscall::name);
  if (newer != std::end(kNewer)) return SyscallName{newer->number};
  const int number = ::seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name.c_str());
  if (number == __NR_SCMP_ERROR) return std::nullopt;
  if (number < 0) return SyscallName{};  // libseccomp's number for a call of another architecture
  return SyscallName{number};
}

std::string NameOfSyscall(int number) {
  const auto* const newer = std::ranges::find(kNewer, number, &NewSyscall::number);
  if (newer != std::end(kNewer)) return std::string(newer->name);
  char* const name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
  if (name == nullptr) return "system call " + std::to_string(number);
  std::string text(name);
  std::free(name);
  return text;
}

}  // namespace hmvm
