// What a container may use: docker's options, their ranges, and what they come to for a machine. A container
// is a guest of its own, so some limits hold on the host, for its VMM, and some in the guest, for its
// processes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "security/cgroup.h"

namespace hmvm {

// A disk of the guest and what may be done with it in a second.
struct DeviceRate {
  std::string device;  // "/dev/vda", the image: the one disk of a container
  uint64_t per_s = 0;  // bytes or operations, at least 1

  bool operator==(const DeviceRate&) const = default;
};

// 0 or empty: no limit, but the machine's size (ContainerConfig::cpus and memory_bytes).
struct Resources {
  uint64_t cpu_quota_us = 0;  // of processor time in each kCpuPeriodUs
  uint32_t cpu_shares = 0;
  std::string cpuset_cpus = {};
  int64_t memory_swap_bytes = 0;  // memory and swap together; -1: any
  uint32_t pids_limit = 0;
  uint64_t vmm_memory_bytes = 0;  // of the VMM, beside the guest's; 0: kVmmBytes of resources.cc
  std::vector<DeviceRate> device_read_bps = {};
  std::vector<DeviceRate> device_write_bps = {};
  std::vector<DeviceRate> device_read_iops = {};
  std::vector<DeviceRate> device_write_iops = {};

  bool operator==(const Resources&) const = default;
};

// "1.5" processors as a quota, to the microsecond. At least 0.01.
Result<uint64_t> ParseCpuQuota(std::string_view text);
// 2 to 262144; 0 for none.
Result<uint32_t> ParseCpuShares(std::string_view text);
// "0-2,5", in the order of the numbers and without repetition.
Result<std::vector<uint32_t>> ParseCpuset(std::string_view text);
// At least 1; 0 and -1 for none.
Result<uint32_t> ParsePidsLimit(std::string_view text);
// "512m", "-1".
Result<int64_t> ParseMemorySwap(std::string_view text);
// "/dev/vda:1mb" with `bytes`, "/dev/vda:100" without.
Result<DeviceRate> ParseDeviceRate(std::string_view text, bool bytes);

// vCPUs for a quota: enough to use it up.
uint32_t CpusForQuota(uint64_t quota_us);

// A host as far as resources go.
struct HostProcessors {
  uint32_t count = 1;
  std::string online;  // "0-7"

  static HostProcessors Find();
};

// Errors are docker's, with the range that is allowed. `cpus` is the machine's number of vCPUs.
Result<> CheckResources(const Resources& resources, uint32_t cpus, uint64_t memory_bytes,
                        const HostProcessors& host);
// What is accepted but can't have the effect that its user may expect; a sentence each.
std::vector<std::string> ResourceWarnings(const Resources& resources, uint64_t memory_bytes);

// The cgroup of the VMM. Its memory limit leaves room for all that a VMM needs beside the guest's memory: it
// is there for a VMM gone wild, and must not be what a container meets first.
CgroupLimits HostLimits(const Resources& resources, uint64_t memory_bytes);

// memory.max of the container in its guest: what is left of the guest's memory by its kernel and agent. So it
// is the container that runs out of memory, not its guest.
uint64_t GuestMemoryMax(uint64_t memory_bytes);

// hmvm-vmm's --io_limits; empty: none.
std::string IoLimitsFlag(const Resources& resources);

}  // namespace hmvm
