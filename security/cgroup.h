// Cgroups of the host: for each machine its own below "hmvm", whose limits hold for the VMM. Version 1,
// version 2 and both side by side, without systemd.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

inline constexpr uint64_t kCpuPeriodUs = 100'000;

struct CgroupLimits {
  uint64_t cpu_quota_us = 0;                // processor time of each kCpuPeriodUs, from 1000 on; 0: no limit
  uint32_t cpu_shares = 0;                  // 2 to 262144, beside the 1024 of others; 0: as the others
  std::string cpus = {};                    // "0-2,5"; empty: all
  uint64_t memory_bytes = 0;                // 0: no limit
  std::optional<uint64_t> swap_bytes = {};  // beside memory_bytes, which it needs; none: no limit
  bool no_devices = false;                  // none can be opened but /dev/null
};

// The weight of version 2 for the shares of version 1: each range from end to end, as other runtimes map
// them.
uint64_t CpuWeight(uint32_t shares);

// Where a host keeps its controllers.
class CgroupHierarchies {
 public:
  struct Hierarchy {
    std::string path;  // where it is mounted
    bool v2 = false;
  };

  // As the calling process sees them. A host without cgroups has none: no error.
  static CgroupHierarchies Find();
  // From the text of a mountinfo file (proc_pid_mountinfo(5)); reads what hierarchies of version 2 offer.
  static CgroupHierarchies Parse(const std::string& mountinfo);

  // nullptr: the controller ("cpu") is in none.
  const Hierarchy* Of(const std::string& controller) const;
  // The one of version 2, whatever controllers it has; nullptr: none is mounted.
  const Hierarchy* version2() const { return version2_.has_value() ? &*version2_ : nullptr; }
  // Where each is mounted, once.
  std::vector<std::string> paths() const;

 private:
  std::map<std::string, Hierarchy> controllers_;
  std::optional<Hierarchy> version2_;
};

// Why some of the limits can't be had on this host by this user: a clause for each controller that is missing
// or not ours to use. Empty: all can.
std::vector<std::string> WhyNoLimits(const CgroupHierarchies& hierarchies, const CgroupLimits& limits);

// A machine's quota of processor time, which does not hold before Hold().
class LiftedCpuQuota {
 public:
  // Any thread; once the cgroup is gone it has nobody to hold.
  Result<> Hold() const;

 private:
  friend class Cgroup;
  struct File {
    std::string path;
    UniqueFd fd;
    std::string quota;
  };
  std::vector<File> files_;
};

// The cgroups of one machine, "hmvm/NAME" in each hierarchy that its limits need, and in that of version 2 in
// any case: the eBPF guard knows the machine by it. Made before the VMM, which is born in them; removed with
// the object, which therefore must outlive the VMM.
class Cgroup {
 public:
  Cgroup() = default;
  Cgroup(Cgroup&& other) noexcept { *this = std::move(other); }
  Cgroup& operator=(Cgroup&& other) noexcept;
  ~Cgroup() { Remove(); }

  // Leaves out what WhyNoLimits names, and uses what a crash left under the name. An error names the file and
  // the value that it did not take; nothing is left then.
  static Result<Cgroup> Create(const CgroupHierarchies& hierarchies, const std::string& name,
                               const CgroupLimits& limits);

  // For Process::Options.
  int v2_directory() const { return v2_directory_.get(); }
  std::vector<int> v1_tasks() const;

  // Lets its processes have so much more memory than so far; nothing where that has no limit. An error names
  // the file.
  Result<> AllowMoreMemory(uint64_t bytes) const;

  // Lifts the quota of processor time that it was made with, if any. An error names the file.
  Result<LiftedCpuQuota> LiftCpuQuota() const;

  // Why device files can be opened though they were to be kept from it; empty: they can't.
  const std::string& device_problem() const { return device_problem_; }

  // What the kernel calls the cgroup of version 2 (bpf_get_current_cgroup_id()); 0: there is none.
  uint64_t id() const { return id_; }

 private:
  Result<> MakeVersion2(const std::string& folder);
  void Remove();

  std::vector<std::string> folders_;
  std::vector<UniqueFd> v1_tasks_;
  UniqueFd v2_directory_;
  uint64_t id_ = 0;
  std::string device_problem_;
};

// The mount point of version 2; empty: the host has none.
std::string FindCgroup2();
// What the kernel's programs know a cgroup of version 2 by; `directory` is open.
Result<uint64_t> CgroupId(int directory);
// That of the cgroup a process is in. ENOENT: it has none.
Result<uint64_t> CgroupIdOfProcess(int pid);

struct RemovedCgroups {
  bool some = false;  // there was one, and it could go
  bool all = true;    // none is there any more
};
// Removes what a crash left of a machine's cgroups. One with a process in it stays, if `patience` does not
// see that process end.
RemovedCgroups RemoveCgroups(const CgroupHierarchies& hierarchies, const std::string& name,
                             std::chrono::milliseconds patience = {});

}  // namespace hmvm
