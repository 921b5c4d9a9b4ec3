#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/device_rules.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

// Passes the controllers that containers use down to their groups. A kernel without some of them is no error.
void EnableControllers();

// One container's cgroup (v2). The directory is removed with Remove(), not with the object.
class Cgroup {
 public:
  struct Limits {
    uint64_t memory_max_bytes = 0;  // 0: none
    uint32_t pids_max = 0;          // 0: none
    // 1 to 10000; 0: as others. The host holds it in any case: no error where the kernel does not know it.
    uint32_t cpu_weight = 0;
  };

  Cgroup() = default;
  // Without limits.
  static Result<Cgroup> Create(const std::string& name);

  Result<> Limit(const Limits& limits) const;

  // Which devices can be made and opened here; none: all, which is how a cgroup begins. Costs nothing where
  // it is so. EPERM, EINVAL, ENOSYS: the kernel or its configuration does not allow it.
  Result<> RestrictDevices(std::optional<std::span<const DeviceRule>> allowed);

  int fd() const { return directory_.get(); }  // for CLONE_INTO_CGROUP
  // How many processes the kernel has killed here for lack of memory.
  uint64_t OomKills() const;
  // A control file of the group as it is; empty where the kernel has no such controller.
  std::string Read(const std::string& control) const;
  // The processes of the group, in the caller's pid namespace.
  Result<std::vector<pid_t>> Processes() const;
  // Holds all processes of the group and of those below it; returns when all stand still. EBUSY: one does not
  // within a second; then all go on.
  Result<> Freeze() const;
  Result<> Thaw() const;
  void Remove() const;

 private:
  Cgroup(std::string path, UniqueFd directory) : path_(std::move(path)), directory_(std::move(directory)) {}

  std::string path_;
  UniqueFd directory_;
  UniqueFd device_program_;               // none: all devices
  std::vector<DeviceRule> device_rules_;  // what it was made of
};

// Makes cgroups, one of them before anybody asks for it: most of what is needed for a container is made in a
// millisecond, a cgroup in six, and which devices it may use is a program to be checked by the kernel.
class CgroupMaker {
 public:
  // For a container that may use `devices`, if the kernel can hold it to that: who makes the container sees.
  Result<> MakeAhead(std::span<const DeviceRule> devices);
  // The one that was made ahead, whatever it is called, or a new one.
  Result<Cgroup> Make(const std::string& name);

 private:
  std::optional<Cgroup> ahead_;
};

// The count behind `key` in a flat keyed file ("oom_kill 3"); 0 if it is not there.
uint64_t KeyedValue(const std::string& content, const std::string& key);
// The sum over all lines of what stands behind "key=" in a nested keyed file ("8:0 rbytes=3 wbytes=4").
uint64_t NestedSum(const std::string& content, const std::string& key);

}  // namespace hmvm::agent
