#include "runtime/container/profile_use.h"

#include <cstdio>

#include "base/size.h"
#include "security/cgroup.h"

namespace hmvm {
namespace {

std::string FormatCpus(uint64_t quota_us) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f",
                static_cast<double>(quota_us) / static_cast<double>(kCpuPeriodUs));
  return text;
}

Error TooMuch(const char* option, const std::string& wanted, const std::string& most,
              const ContainerConfig& config) {
  return Error{0, std::string(option) + ": " + wanted + " is more than the " + most +
                      " that security profile '" + config.security_profile + "' allows"};
}

}  // namespace

Confinement DefaultsOf(const SecurityProfile& profile) {
  return {.capabilities = profile.container.capabilities,
          .seccomp = profile.container.seccomp,
          .no_new_privileges = profile.container.no_new_privileges,
          .devices = profile.devices};
}

Result<> ApplyCeilings(const ResourceCeilings& ceilings, ContainerConfig& config) {
  Resources& resources = config.resources;
  if (ceilings.cpu_quota_us != 0) {
    const uint64_t wanted_us =
        resources.cpu_quota_us != 0 ? resources.cpu_quota_us : config.cpus * kCpuPeriodUs;
    if (wanted_us > ceilings.cpu_quota_us && resources.cpu_quota_us != 0) {
      return TooMuch("--cpus", FormatCpus(wanted_us), FormatCpus(ceilings.cpu_quota_us), config);
    }
    if (wanted_us > ceilings.cpu_quota_us) resources.cpu_quota_us = ceilings.cpu_quota_us;
  }
  if (ceilings.memory_bytes != 0 && config.memory_bytes > ceilings.memory_bytes) {
    return TooMuch("--memory", FormatSize(config.memory_bytes), FormatSize(ceilings.memory_bytes), config);
  }
  if (ceilings.pids != 0 && resources.pids_limit > ceilings.pids) {
    return TooMuch("--pids-limit", std::to_string(resources.pids_limit), std::to_string(ceilings.pids),
                   config);
  }
  if (resources.pids_limit == 0) resources.pids_limit = ceilings.pids;
  resources.vmm_memory_bytes = ceilings.vmm_memory_bytes;
  return {};
}

Result<SecurityProfile> ProfileOf(const ContainerConfig& config) {
  if (config.profile.empty()) return SecurityProfile();
  return ParseSecurityProfile("/" + config.security_profile, config.profile);
}

Result<VmmPolicy> VmmPolicyOf(const ContainerConfig& config) {
  HMVM_TRY_ASSIGN(SecurityProfile profile, ProfileOf(config));
  return std::move(profile.vmm);
}

}  // namespace hmvm
