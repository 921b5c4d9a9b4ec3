// Which devices the processes of a cgroup of version 2 may make and open: rules, the BPF program made of
// them, and its place at the cgroup.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

struct DeviceRule {
  uint32_t type = BPF_DEVCG_DEV_CHAR;  // or BPF_DEVCG_DEV_BLOCK
  std::optional<uint32_t> major = {};  // none: any
  std::optional<uint32_t> minor = {};  // none: any
  uint32_t access = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

  bool operator==(const DeviceRule&) const = default;
};

inline constexpr DeviceRule kNullDevice = {.major = 1, .minor = 3};

// What the kernel asks about each device (BPF_PROG_TYPE_CGROUP_DEVICE): 1 when one rule allows all of the
// access that is asked for, 0 when none does.
std::vector<bpf_insn> MakeDeviceProgram(std::span<const DeviceRule> allowed);

// From now on and for as long as the cgroup is there, beside other such programs of it and of those above.
// The result is the program, for LiftDeviceRules. EPERM, EINVAL, ENOSYS: the kernel or this user's rights do
// not allow it.
Result<UniqueFd> HoldToDeviceRules(int cgroup_directory, std::span<const DeviceRule> allowed);
Result<> LiftDeviceRules(int cgroup_directory, int program);

}  // namespace hmvm
