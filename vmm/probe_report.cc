#include "vmm/probe_report.h"

#include <nlohmann/json.hpp>

namespace hmvm {
namespace {

const char* NameOf(HostFinding::Verdict verdict) {
  switch (verdict) {
    case HostFinding::Verdict::kOk:
      return "ok";
    case HostFinding::Verdict::kNote:
      return "note";
    case HostFinding::Verdict::kMissing:
      return "missing";
  }
  return "";
}

}  // namespace

std::string ProbeReport(const HostProbe& probe) {
  auto findings = nlohmann::ordered_json::array();
  for (const HostFinding& finding : probe.findings) {
    findings.push_back({{"name", finding.name},
                        {"value", finding.value},
                        {"meaning", finding.meaning},
                        {"verdict", NameOf(finding.verdict)}});
  }
  const nlohmann::ordered_json report = {{"platform", probe.BestPlatform()},
                                         {"findings", std::move(findings)}};
  return report.dump() + "\n";
}

}  // namespace hmvm
