// `hmvm check`: the VMM looks at the host, we show what it found and what else a container needs.
#include <unistd.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/process.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/cli/output.h"
#include "runtime/supervisor/machine.h"
#include "security/cell.h"
#include "security/guard/guard.h"
#include "security/jail.h"
#include "security/seccomp.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

Result<ordered_json> ProbeOfVmm(const Installation& installation) {
  HMVM_TRY_ASSIGN(const CommandResult result, RunCommand({installation.vmm_program, "--probe"}));
  if (result.exit_code != 0) return Error{0, std::string(LastLogMessage(result.output))};
  auto report = ordered_json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  if (!report.is_object() || !report.contains("findings")) {
    return Error{0, "'" + installation.vmm_program + " --probe' gave no report: " + result.output};
  }
  return report;
}

ordered_json FileFinding(const char* name, const std::string& path, const char* meaning) {
  const bool there = ::access(path.c_str(), R_OK) == 0;
  return {{"name", name},
          {"value", there ? path : "'" + path + "' is missing"},
          {"meaning", meaning},
          {"verdict", there ? "ok" : "missing"}};
}

// A layer of the jail around each VMM; without one the others hold.
ordered_json LayerFinding(const char* name, std::string_view why_not, const char* meaning) {
  return {{"name", name},
          {"value", why_not.empty() ? "there" : why_not},
          {"meaning", meaning},
          {"verdict", why_not.empty() ? "ok" : "note"}};
}

std::string WhyNoDevicePolicy() {
  const auto hierarchies = CgroupHierarchies::Find();
  if (const auto why = WhyNoLimits(hierarchies, {.no_devices = true}); !why.empty()) return why[0];
  const auto cgroup =
      Cgroup::Create(hierarchies, "check-" + std::to_string(::getpid()), {.no_devices = true});
  return cgroup.has_value() ? cgroup->device_problem() : cgroup.error().Message();
}

void AddLayers(ordered_json& findings) {
  std::string jail = WhyNoJail();
  if (jail.empty()) jail = WhyNoNamespaces();
  findings.push_back(LayerFinding("jail", jail, "each VMM has its own user, namespaces and empty root"));
  findings.push_back(LayerFinding("jail: user namespace", WhyNoUserNamespace(),
                                  "capabilities that a VMM might regain mean nothing outside"));
  findings.push_back(
      LayerFinding("jail: Landlock", WhyNoLandlock(), "a VMM opens no file, whatever its root"));
  findings.push_back(LayerFinding("jail: devices", WhyNoDevicePolicy(), "a VMM's cgroup opens no device"));
  findings.push_back(
      LayerFinding("seccomp", WhyNoSeccomp(), "each thread of a VMM makes its own calls only"));
}

// Where a tracepoint is there but this host's KVM never passes it, the layer sees nothing.
std::string FoundOf(const GuardLayerStatus& layer, const Installation& installation) {
  if (!layer.active) return layer.why;
  if (layer.name != "kvm" && layer.name != "kvm-exits") return "can be loaded";
  const auto seen = ExitsSeenBy(layer.name, [&] { (void)ProbeOfVmm(installation); });
  if (!seen.has_value()) return seen.error().Message();
  if (*seen > 0) return "can be loaded, and this KVM tells";
  return "this host's KVM never passes the tracepoint";
}

std::string Format(const ordered_json& report) {
  Table table({"", "WHAT", "FOUND", "MEANING"});
  for (const ordered_json& finding : report["findings"]) {
    table.Add({finding.value("verdict", ""), finding.value("name", ""), finding.value("value", ""),
               finding.value("meaning", "")});
  }
  const std::string platform = report.value("platform", "");
  return table.Format() + (platform.empty() ? "No platform can run containers on this host.\n"
                                            : "Containers run on the platform " + platform + ".\n");
}

}  // namespace

Result<int> Execute(const Folders&, const CheckOptions& options) {
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(ordered_json report, ProbeOfVmm(installation));
  ordered_json& findings = report["findings"];
  findings.push_back(FileFinding("guest kernel", installation.kernel, "what every microVM boots"));
  findings.push_back(
      FileFinding("initramfs", installation.initramfs, "the agent, first process of every guest"));
  findings.push_back(
      FileFinding("mkfs.erofs", "/usr/bin/mkfs.erofs", "makes an image's file system (erofs-utils)"));
  AddLayers(findings);
  for (const GuardLayerStatus& layer : ProbeGuard()) {
    findings.push_back({{"name", "guard: " + layer.name},
                        {"value", FoundOf(layer, installation)},
                        {"meaning", layer.meaning},
                        {"verdict", layer.active ? "ok" : "note"}});
  }
  HMVM_TRY(Print(options.json ? report.dump(2) + "\n" : Format(report)));

  const bool complete = std::ranges::none_of(
      findings, [](const ordered_json& finding) { return finding.value("verdict", "") == "missing"; });
  return complete && !report.value("platform", "").empty() ? 0 : 1;
}

}  // namespace hmvm
