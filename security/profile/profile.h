// Security profiles: what a container and its VMM may do, in one file. docs/profiles.md describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "security/container/capability_options.h"
#include "security/syscall_rules.h"

namespace hmvm {

enum class OnBreach { kKill, kAudit };

// A system call that the VMM may make beyond those of its table.
struct VmmSyscall {
  std::string name;
  int number = 0;
  ArgumentChecks checks = {};  // all must hold

  bool operator==(const VmmSyscall&) const = default;
};

// What is to be set up around a VMM: all that its filter and its guard need of a profile.
struct VmmPolicy {
  std::vector<VmmSyscall> extra_syscalls = {};
  OnBreach on_breach = OnBreach::kKill;

  bool operator==(const VmmPolicy&) const = default;
};

// As rows of the table.
std::vector<SyscallRule> FurtherRules(const VmmPolicy& policy);

struct NetworkRule {
  enum class Direction { kIn, kOut };
  enum class Protocol { kAny, kTcp, kUdp, kIcmp };
  bool allow = true;
  Direction direction = Direction::kOut;
  Protocol protocol = Protocol::kAny;
  std::string peer = {};                                  // "10.0.0.0/8", "fd00::/8"; empty: any
  std::vector<std::pair<uint16_t, uint16_t>> ports = {};  // from, to; empty: any

  bool operator==(const NetworkRule&) const = default;
};

// The first rule that fits decides, else the default.
struct NetworkPolicy {
  bool allow = true;
  std::vector<NetworkRule> rules = {};

  bool operator==(const NetworkPolicy&) const = default;
};

// What nobody gets more of; 0: no ceiling.
struct ResourceCeilings {
  uint64_t cpu_quota_us = 0;  // of processor time in each kCpuPeriodUs
  uint64_t memory_bytes = 0;  // of the machine
  uint32_t pids = 0;
  uint64_t vmm_memory_bytes = 0;  // of the VMM, beside the guest's

  bool operator==(const ResourceCeilings&) const = default;
};

// What a container has unless its command line says otherwise.
struct ContainerDefaults {
  uint64_t capabilities = DefaultCapabilities();
  std::string seccomp = "default";  // default, strict, unconfined or the path of a JSON profile
  bool no_new_privileges = false;
  bool read_only = false;

  bool operator==(const ContainerDefaults&) const = default;
};

struct SecurityProfile {
  VmmPolicy vmm;
  ContainerDefaults container;
  std::vector<std::string> devices = {};  // of the guest, for the container: "/dev/fuse"
  NetworkPolicy network;
  ResourceCeilings resources;

  bool operator==(const SecurityProfile&) const = default;
};

// "default" and "strict".
std::optional<SecurityProfile> BuiltInProfile(std::string_view name);

// An error is one line, "FILE:LINE:COLUMN: what", with the nearest key for one that is unknown.
Result<SecurityProfile> ParseSecurityProfile(const std::string& file, std::string_view text);

// A built-in one, or a file's.
Result<SecurityProfile> LoadSecurityProfile(const std::string& name);

// The normal form: a file that says all, the default parts as well. Parsing it gives the same profile.
std::string FormatSecurityProfile(const SecurityProfile& profile);

}  // namespace hmvm
