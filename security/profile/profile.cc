#include "security/profile/profile.h"

#include <linux/capability.h>

#include <sstream>

#include <yaml-cpp/emitter.h>
#include <yaml-cpp/stlemitter.h>

#include "base/capabilities.h"
#include "security/cgroup.h"

namespace hmvm {
namespace {

constexpr const char* kProtocols[] = {"any", "tcp", "udp", "icmp"};
constexpr uint64_t kMiB = 1 << 20;

std::string Size(uint64_t bytes) {
  return bytes % kMiB == 0 ? std::to_string(bytes / kMiB) + "m" : std::to_string(bytes);
}

void EmitSyscall(YAML::Emitter& out, const VmmSyscall& call) {
  if (call.checks.size() == 0) {
    out << call.name;
    return;
  }
  out << YAML::BeginMap << YAML::Key << "name" << YAML::Value << call.name << YAML::Key << "args"
      << YAML::Value << YAML::BeginSeq;
  for (const ArgumentCheck& check : call.checks) {
    out << YAML::Flow << YAML::BeginMap << YAML::Key << "index" << YAML::Value
        << static_cast<int>(check.index);
    if (check.mask != ~uint64_t{0}) out << YAML::Key << "mask" << YAML::Value << check.mask;
    out << YAML::Key << "equal" << YAML::Value << check.value << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
}

void EmitRule(YAML::Emitter& out, const NetworkRule& rule) {
  out << YAML::Flow << YAML::BeginMap << YAML::Key << (rule.allow ? "allow" : "deny") << YAML::Value
      << (rule.direction == NetworkRule::Direction::kIn ? "in" : "out");
  out << YAML::Key << "protocol" << YAML::Value << kProtocols[static_cast<size_t>(rule.protocol)];
  if (!rule.peer.empty()) out << YAML::Key << "peer" << YAML::Value << rule.peer;
  if (!rule.ports.empty()) {
    out << YAML::Key << "ports" << YAML::Value << YAML::Flow << YAML::BeginSeq;
    for (const auto& [first, last] : rule.ports) {
      out << (first == last ? std::to_string(first) : std::to_string(first) + "-" + std::to_string(last));
    }
    out << YAML::EndSeq;
  }
  out << YAML::EndMap;
}

void EmitList(YAML::Emitter& out, const char* key, const std::vector<std::string>& list) {
  out << YAML::Key << key << YAML::Value << YAML::Flow << list;
}

}  // namespace

std::vector<SyscallRule> FurtherRules(const VmmPolicy& policy) {
  std::vector<SyscallRule> rules;
  for (const VmmSyscall& call : policy.extra_syscalls) {
    rules.push_back(
        {.number = call.number, .checks = call.checks, .why = "the container's security profile"});
  }
  return rules;
}

std::optional<SecurityProfile> BuiltInProfile(std::string_view name) {
  if (name == "default") return SecurityProfile();
  if (name != "strict") return std::nullopt;
  SecurityProfile strict;
  // What a service needs that begins as root and becomes somebody else.
  strict.container = {.capabilities = CapabilityBit(CAP_CHOWN) | CapabilityBit(CAP_SETUID) |
                                      CapabilityBit(CAP_SETGID) | CapabilityBit(CAP_KILL) |
                                      CapabilityBit(CAP_NET_BIND_SERVICE),
                      .seccomp = "strict",
                      .no_new_privileges = true,
                      .read_only = true};
  strict.resources.pids = 512;
  strict.resources.vmm_memory_bytes = 64 * kMiB;
  return strict;
}

std::string FormatSecurityProfile(const SecurityProfile& profile) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "version" << YAML::Value << 1;
  out << YAML::Key << "on_breach" << YAML::Value
      << (profile.vmm.on_breach == OnBreach::kKill ? "kill" : "audit");
  out << YAML::Key << "vmm" << YAML::Value << YAML::BeginMap << YAML::Key << "syscalls" << YAML::Value
      << YAML::BeginSeq;
  for (const VmmSyscall& call : profile.vmm.extra_syscalls) EmitSyscall(out, call);
  out << YAML::EndSeq << YAML::EndMap;
  out << YAML::Key << "container" << YAML::Value << YAML::BeginMap;
  EmitList(out, "capabilities", NamesOfCapabilities(profile.container.capabilities));
  out << YAML::Key << "seccomp" << YAML::Value << profile.container.seccomp << YAML::Key
      << "no_new_privileges" << YAML::Value << profile.container.no_new_privileges << YAML::Key << "read_only"
      << YAML::Value << profile.container.read_only << YAML::EndMap;
  EmitList(out, "devices", profile.devices);
  out << YAML::Key << "network" << YAML::Value << YAML::BeginMap << YAML::Key << "default" << YAML::Value
      << (profile.network.allow ? "allow" : "deny") << YAML::Key << "rules" << YAML::Value << YAML::BeginSeq;
  for (const NetworkRule& rule : profile.network.rules) EmitRule(out, rule);
  out << YAML::EndSeq << YAML::EndMap;
  const ResourceCeilings& ceilings = profile.resources;
  out << YAML::Key << "resources" << YAML::Value << YAML::BeginMap;
  if (ceilings.cpu_quota_us != 0) {
    out << YAML::Key << "cpus" << YAML::Value
        << static_cast<double>(ceilings.cpu_quota_us) / static_cast<double>(kCpuPeriodUs);
  }
  if (ceilings.memory_bytes != 0) out << YAML::Key << "memory" << YAML::Value << Size(ceilings.memory_bytes);
  if (ceilings.pids != 0) out << YAML::Key << "pids" << YAML::Value << ceilings.pids;
  if (ceilings.vmm_memory_bytes != 0) {
    out << YAML::Key << "vmm_memory" << YAML::Value << Size(ceilings.vmm_memory_bytes);
  }
  out << YAML::EndMap << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace hmvm
