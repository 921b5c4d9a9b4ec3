#include "security/cell.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "base/file.h"
#include "security/jail.h"
#include "security/syscall_rule_text.h"

namespace hmvm {

std::string WhyNoJail() {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::geteuid() != 0) return "only root can jail the virtual machine monitor: it runs as this user";
  if (::syscall(SYS_capget, &header, data) < 0 || (data[0].effective >> CAP_SYS_ADMIN & 1) == 0) {
    return "the virtual machine monitor is not jailed: that needs CAP_SYS_ADMIN";
  }
  return "";
}

// A VMM lets go of its id before it leaves its cgroup. And where a crash has left no cgroup, nobody looks at
// all the ids of the host.
bool RemoveCell(const std::string& name, std::chrono::milliseconds patience) {
  const RemovedCgroups removed = RemoveCgroups(CgroupHierarchies::Find(), name, patience);
  if (removed.some) MachineUser::Sweep();
  return removed.all;
}

Result<Cell> Cell::Create(const std::string& name, CgroupLimits limits) {
  Cell cell;
  const bool jail = WhyNoJail().empty();
  limits.no_devices = jail;
  HMVM_TRY_ASSIGN(cell.cgroup_, Cgroup::Create(CgroupHierarchies::Find(), name, limits));
  if (!jail) return cell;
  HMVM_TRY_ASSIGN(cell.user_, MachineUser::Take());
  // The VMM says why not, and what to do, when it finds that it can't open it either.
  if (auto kvm = OpenFile("/dev/kvm", O_RDWR); kvm.has_value()) cell.kvm_ = std::move(*kvm);
  return cell;
}

void Cell::Enclose(const std::string& seccomp, std::span<const SyscallRule> further,
                   Process::Options& options) const {
  options.cgroup = cgroup_.v2_directory();
  options.cgroup_tasks = cgroup_.v1_tasks();
  if (!user_.has_value()) return;
  options.namespaces = kJailNamespaces;
  options.new_session = true;
  int number = kFirstFd;
  const auto give = [&options, &number](int fd) {
    options.fds.emplace_back(fd, number);
    return "fd:" + std::to_string(number++);
  };
  options.arguments.push_back("--jail=" + std::to_string(user_->id()) + "," + give(user_->lock()));
  options.arguments.push_back("--seccomp=" + seccomp);
  if (!further.empty()) options.arguments.push_back("--syscalls=" + FormatSyscallRules(further));
  if (kvm_.valid()) options.arguments.push_back("--kvm=" + give(kvm_.get()));
}

}  // namespace hmvm
