// `hmvm guard load`, `hmvm guard unload`, `hmvm guard status`, `hmvm audit verify`.
#include "security/guard/guard.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include <nlohmann/json.hpp>

#include "runtime/cli/commands.h"
#include "runtime/cli/output.h"
#include "security/guard/audit.h"
#include "security/guard/audit_log.h"
#include "security/guard/objects.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

uint64_t Sum(const std::map<std::string, uint64_t>& counts) {
  uint64_t sum = 0;
  for (const auto& [name, count] : counts) sum += count;
  return sum;
}

// With each machine's exits of one second, of both kinds.
Result<GuardStatus> CountExits() {
  GuardStatus status = StatusOfGuard();
  HMVM_TRY_ASSIGN(const std::vector<UniqueFd> counting, AttachOnDemand("kvm-exits"));
  const std::vector<GuardVmStatus> before = GuardedMachines();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  status.machines = GuardedMachines();
  for (GuardVmStatus& machine : status.machines) {
    const auto found = std::ranges::find(before, machine.cgroup, &GuardVmStatus::cgroup);
    if (found == before.end()) continue;
    machine.exits -= found->exits;
    for (const auto& [reason, count] : found->exit_reasons) machine.exit_reasons[reason] -= count;
  }
  return status;
}

// "1234: io 1000, hlt 234", the most first.
std::string FormatReasons(const std::map<std::string, uint64_t>& reasons) {
  std::vector<std::pair<std::string, uint64_t>> sorted(reasons.begin(), reasons.end());
  std::ranges::stable_sort(sorted, std::greater(), &std::pair<std::string, uint64_t>::second);
  std::string text = std::to_string(Sum(reasons));
  for (size_t i = 0; i < sorted.size(); ++i) {
    text += (i == 0 ? ": " : ", ") + sorted[i].first + " " + std::to_string(sorted[i].second);
  }
  return text;
}

// A KVM that never passes the tracepoint tells nothing of what it settles by itself.
bool Told(const GuardVmStatus& machine) { return machine.exits > 0 || Sum(machine.exit_reasons) == 0; }

ordered_json Details(const GuardStatus& status, bool exits) {
  ordered_json layers = ordered_json::array();
  for (const GuardLayerStatus& layer : status.layers) {
    layers.push_back(
        {{"name", layer.name}, {"active", layer.active}, {"meaning", layer.meaning}, {"why_not", layer.why}});
  }
  ordered_json machines = ordered_json::array();
  for (const GuardVmStatus& machine : status.machines) {
    machines.push_back(GuardDetails(machine));
    if (!exits) continue;
    machines.back()["exits_to_vmm_per_s"] = machines.back()["exits_to_vmm"];
    machines.back().erase("exits_to_vmm");
    machines.back()["exits_per_s"] = Told(machine) ? ordered_json(machine.exits) : nullptr;
  }
  return {{"loaded", !status.version.empty()},
          {"version", status.version},
          {"current", status.version == GuardVersion()},
          {"layers", std::move(layers)},
          {"machines", std::move(machines)}};
}

std::string Format(const GuardStatus& status, bool exits) {
  std::string text = status.version.empty()
                         ? "The guard is not loaded.\n"
                         : "The guard is loaded, version " + status.version +
                               (status.version == GuardVersion() ? ".\n"
                                                                 : "; this hmvm's is " + GuardVersion() +
                                                                       ": `hmvm guard load` replaces it.\n");
  Table layers({"LAYER", "ACTIVE", "WHAT IT DOES"});
  for (const GuardLayerStatus& layer : status.layers) {
    layers.Add({layer.name, layer.active ? "yes" : "no: " + layer.why, layer.meaning});
  }
  text += layers.Format();
  if (status.machines.empty()) return text;
  Table machines({"CONTAINER", "STATE", "SYSTEM CALLS", "BREACHES", exits ? "EXITS/S" : "",
                  exits ? "EXITS TO VMM/S" : "EXITS TO VMM"});
  for (const GuardVmStatus& machine : status.machines) {
    machines.Add({machine.name.substr(0, kShortId), machine.state, std::to_string(Sum(machine.calls)),
                  std::to_string(machine.breaches),
                  !exits          ? ""
                  : Told(machine) ? std::to_string(machine.exits)
                                  : "not told by this KVM",
                  FormatReasons(machine.exit_reasons)});
  }
  return text + "\n" + machines.Format();
}

}  // namespace

ordered_json GuardDetails(const GuardVmStatus& machine) {
  return {{"container", machine.name},
          {"cgroup", machine.cgroup},
          {"state", machine.state},
          {"breaches", machine.breaches},
          {"lost_events", machine.lost_events},
          {"processes", machine.processes},
          {"programs", machine.programs},
          {"uring_operations", machine.uring_operations},
          {"calls", machine.calls},
          {"exits_to_vmm", machine.exit_reasons}};
}

Result<int> Execute(const Folders& folders, const GuardLoadOptions&) {
  const std::vector<std::string> before = GuardPins().Versions();
  auto loaded = LoadGuard();
  if (!loaded.has_value()) return Error{0, "the guard can't be loaded: " + loaded.error().Message()};
  // That the guard came or went belongs into the log of what it has met.
  if (*loaded)
    HMVM_TRY(AuditGuard(folders.audit(), before.empty() ? "guard loaded" : "guard replaced", GuardVersion()));
  SweepGuardRings();
  HMVM_TRY(Print(GuardVersion() + "\n"));
  return 0;
}

Result<int> Execute(const Folders& folders, const GuardUnloadOptions&) {
  const std::vector<std::string> before = GuardPins().Versions();
  HMVM_TRY_ASSIGN(const bool unloaded, UnloadGuard());
  if (!unloaded) return Error{0, "the guard is not loaded"};
  HMVM_TRY(AuditGuard(folders.audit(), "guard unloaded", before.empty() ? "" : before.front()));
  return 0;
}

Result<int> Execute(const Folders&, const GuardStatusOptions& options) {
  GuardStatus status;
  if (options.exits) {
    HMVM_TRY_ASSIGN(status, CountExits());
  } else {
    status = StatusOfGuard();
  }
  HMVM_TRY(
      Print(options.json ? Details(status, options.exits).dump(2) + "\n" : Format(status, options.exits)));
  return 0;
}

Result<int> Execute(const Folders& folders, const AuditVerifyOptions& options) {
  const std::string path = options.file.empty() ? AuditLog::PathIn(folders.audit()) : options.file;
  HMVM_TRY_ASSIGN(const AuditVerdict verdict, VerifyAuditLog(path));
  if (!verdict.problem.empty()) return Error{0, "'" + path + "': " + verdict.problem};
  HMVM_TRY(Print(std::to_string(verdict.lines) + " lines, the last one's hash is " + verdict.last + "\n"));
  return 0;
}

}  // namespace hmvm
