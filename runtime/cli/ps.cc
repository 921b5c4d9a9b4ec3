// `hmvm ps`: the containers, a line each.
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/output.h"
#include "runtime/output/log_line.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

constexpr size_t kCommandColumn = 40;

std::string HealthText(Health health) {
  switch (health) {
    case Health::kNone:
      return "";
    case Health::kStarting:
      return " (health: starting)";
    case Health::kHealthy:
    case Health::kUnhealthy:
      return " (" + std::string(HealthName(health)) + ")";
  }
  return "";
}

std::string StatusText(const ContainerRecord& record) {
  const auto ago = [&](Status status) { return FormatAge(NowUnixNs() - record.EnteredUnixNs(status)); };
  const std::string up = FormatAge(NowUnixNs() - record.started_unix_ns);
  const std::string code = std::to_string(record.exit_code);
  switch (record.status()) {
    case Status::kCreated:
      return "Created";
    case Status::kStarting:
      return "Starting";
    case Status::kRunning:
      return "Up " + up + HealthText(record.health.status);
    case Status::kPausing:
    case Status::kPaused:
    case Status::kResuming:
      return "Up " + up + " (" + std::string(StatusName(record.status())) + ")";
    case Status::kRestarting:
      return "Restarting (" + code + ") " + ago(Status::kRestarting) + " ago";
    case Status::kStopping:
      return "Stopping";
    case Status::kStopped:
      return "Exited (" + code + ") " + ago(Status::kStopped) + " ago";
    case Status::kFailed:
      return "Failed (" + code + ")";
  }
  return "";
}

ordered_json Summary(const ContainerStore::Entry& entry) {
  const ContainerRecord& record = entry.record;
  return {{"id", record.id},
          {"name", record.name},
          {"image", record.config.image},
          {"command", record.config.args},
          {"created", FormatTime(record.created_unix_ns())},
          {"status", StatusName(record.status())},
          {"exit_code", record.exit_code},
          {"reason", record.reason},
          {"health", HealthName(record.health.status)}};
}

}  // namespace

Result<int> Execute(const Folders& folders, const PsOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  folders.Sweep(store);
  HMVM_TRY_ASSIGN(const auto entries, store.List());
  ordered_json list = ordered_json::array();
  std::string ids;
  Table table({"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"});
  for (const ContainerStore::Entry& entry : entries) {
    const ContainerRecord& record = entry.record;
    if (!options.all && !HasSupervisor(record.status())) continue;
    if (!entry.problem.empty()) PrintError(entry.problem + "; `hmvm rm -f` removes the container");
    const std::string id = record.id.substr(0, kShortId);
    ids += id + "\n";
    if (options.json) list.push_back(Summary(entry));
    table.Add({id, record.config.image, FormatCommand(record.config.args, kCommandColumn),
               FormatAge(NowUnixNs() - record.created_unix_ns()) + " ago", StatusText(record), record.name});
  }
  HMVM_TRY(Print(options.quiet ? ids : options.json ? FormatJson(list) : table.Format()));
  return 0;
}

}  // namespace hmvm
