#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/process.h"
#include "base/result.h"
#include "security/cgroup.h"
#include "security/machine_user.h"
#include "security/syscall_rules.h"

namespace hmvm {

// Where one VMM lives: the part of its jail that is made from outside, before it is born. Outlives the VMM.
class Cell {
 public:
  Cell() = default;

  // A cgroup of that name, and a user id of its own. Who is not root gets what this user can have.
  static Result<Cell> Create(const std::string& name, CgroupLimits limits);

  // Has hmvm-vmm born in here: adds its cgroup, namespaces, flags and the descriptors for these, from
  // kFirstFd on. `seccomp` as ParseSeccompMode takes it; `further` system calls are allowed beside the
  // table's.
  static constexpr int kFirstFd = 64;
  void Enclose(const std::string& seccomp, std::span<const SyscallRule> further,
               Process::Options& options) const;

  const Cgroup& cgroup() const { return cgroup_; }

 private:
  Cgroup cgroup_;
  std::optional<MachineUser> user_;  // none: no jail
  UniqueFd kvm_;
};

// Removes what a crash left of a cell of that name: its cgroups and, when they could go, the user ids that
// nobody holds any more. A VMM that is still ending has `patience` to do so; false: it has not, and what is
// there is for the next to come.
bool RemoveCell(const std::string& name, std::chrono::milliseconds patience = {});

// Why a process with these rights can't jail another; empty: it can.
std::string WhyNoJail();

}  // namespace hmvm
