#include "security/guard/audit.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "security/guard/audit_log.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

// JSON's numbers lose the low bits of addresses in many readers.
std::string Hex(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof(text), "%#" PRIx64, number);
  return text;
}

template <typename Numbers>
ordered_json HexList(const Numbers& numbers) {
  ordered_json list = ordered_json::array();
  for (const uint64_t number : numbers) list.push_back(Hex(number));
  return list;
}

ordered_json FieldsOf(const GuardEvent& event, const AuditSubject& subject) {
  return {{"event", "breach"},
          {"deed", event.deed},
          {"container", subject.container},
          {"image", subject.image},
          {"kind", event.kind},
          {"call", event.call},
          {"number", event.number},
          {"arguments", HexList(event.arguments)},
          {"state", event.state},
          {"pid", event.pid},
          {"tid", event.tid},
          {"process", event.process},
          {"thread", event.thread},
          {"uid", event.uid},
          {"gid", event.gid},
          {"stack", HexList(event.stack)},
          {"monotonic_ns", event.monotonic_ns}};
}

}  // namespace

Result<> AuditBreach(const std::string& folder, const GuardEvent& event, const AuditSubject& subject) {
  HMVM_TRY_ASSIGN(const AuditLog log, AuditLog::Open(folder));
  return log.Append(FieldsOf(event, subject));
}

Result<> AuditGuard(const std::string& folder, const std::string& event, const std::string& version) {
  HMVM_TRY_ASSIGN(const AuditLog log, AuditLog::Open(folder));
  return log.Append({{"event", event}, {"version", version}, {"pid", ::getpid()}, {"uid", ::getuid()}});
}

}  // namespace hmvm
