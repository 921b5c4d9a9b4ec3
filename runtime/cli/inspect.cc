// `hmvm inspect`: all that is known of containers.
#include <functional>

#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/output.h"
#include "runtime/output/log_line.h"
#include "runtime/supervisor/supervisor_client.h"
#include "security/cgroup.h"
#include "security/guard/guard.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

// Of a machine that runs, and answers.
ordered_json Counters(const ContainerStore& store, const ContainerRecord& record) {
  ordered_json counters = ordered_json::object();
  if (!record.live()) return counters;
  auto supervisor = SupervisorClient::Connect(store, record.id);
  if (!supervisor.has_value()) return counters;
  const auto answer = supervisor->Counters();
  if (!answer.has_value()) return counters;
  for (const auto& counter : answer->counters()) counters[counter.name()] = counter.value();
  return counters;
}

ordered_json RateDetails(const std::vector<DeviceRate>& rates) {
  ordered_json list = ordered_json::array();
  for (const DeviceRate& rate : rates) list.push_back({{"device", rate.device}, {"per_s", rate.per_s}});
  return list;
}

ordered_json ResourceDetails(const Resources& resources) {
  return {{"cpu_period_us", kCpuPeriodUs},
          {"cpu_quota_us", resources.cpu_quota_us},
          {"cpu_shares", resources.cpu_shares},
          {"cpuset_cpus", resources.cpuset_cpus},
          {"memory_swap_bytes", resources.memory_swap_bytes},
          {"pids_limit", resources.pids_limit},
          {"device_read_bps", RateDetails(resources.device_read_bps)},
          {"device_write_bps", RateDetails(resources.device_write_bps)},
          {"device_read_iops", RateDetails(resources.device_read_iops)},
          {"device_write_iops", RateDetails(resources.device_write_iops)}};
}

ordered_json SecurityDetails(const ContainerConfig& config) {
  const Confinement& confinement = config.confinement;
  return {{"profile", config.security_profile},
          {"privileged", confinement.privileged},
          {"capabilities", NamesOfCapabilities(confinement.capabilities)},
          {"seccomp", confinement.seccomp},
          {"no_new_privileges", confinement.no_new_privileges},
          {"system_paths", confinement.open_system_paths ? "unconfined" : "masked"},
          {"devices", confinement.devices}};
}

// Null where there is no check.
ordered_json HealthDetails(const ContainerRecord& record) {
  const HealthCheck& check = record.config.health_check;
  if (check.command.empty()) return nullptr;
  ordered_json last = ordered_json::array();
  for (const ProbeResult& result : record.health.last) {
    last.push_back({{"begun", FormatTime(result.begun_unix_ns)},
                    {"ended", FormatTime(result.ended_unix_ns)},
                    {"exit_code", result.exit_code},
                    {"output", result.output}});
  }
  return {{"status", HealthName(record.health.status)},
          {"failures", record.health.failures},
          {"command", check.command},
          {"interval_ns", check.interval.count()},
          {"timeout_ns", check.timeout.count()},
          {"start_period_ns", check.start_period.count()},
          {"retries", check.retries},
          {"last", std::move(last)}};
}

// Null where no guard watches it.
ordered_json GuardState(const ContainerRecord& record) {
  if (!record.live() || record.vmm.pid == 0) return nullptr;
  const auto cgroup = CgroupIdOfProcess(record.vmm.pid);
  if (!cgroup.has_value()) return nullptr;
  const auto machine = StatusOfGuardedVm(*cgroup);
  if (!machine.has_value()) return nullptr;
  ordered_json details = GuardDetails(*machine);
  details["layers"] = ordered_json::array();
  const GuardPins pins;
  for (const std::string& version : pins.Versions()) {
    for (const std::string& layer : pins.LayersOf(version)) details["layers"].push_back(layer);
  }
  return details;
}

ordered_json Details(const ContainerStore& store, const ContainerRecord& record) {
  const ContainerConfig& config = record.config;
  ordered_json events = ordered_json::array();
  for (const ContainerEvent& event : record.events) {
    events.push_back({{"status", StatusName(event.status)},
                      {"time", FormatTime(event.unix_ns)},
                      {"monotonic_ns", event.monotonic_ns}});
  }
  const bool running = record.live();
  return {{"id", record.id},
          {"name", record.name},
          {"status", StatusName(record.status())},
          {"exit_code", record.exit_code},
          {"reason", record.reason},
          {"oom_killed", record.oom_killed},
          {"image", config.image},
          {"image_id", config.image_id},
          {"command", config.args},
          {"env", config.env},
          {"working_dir", config.working_dir},
          {"user", config.user},
          {"hostname", config.hostname},
          {"terminal", config.terminal},
          {"open_stdin", config.open_stdin},
          {"read_only", config.read_only},
          {"auto_remove", config.auto_remove},
          {"restart_policy", FormatRestartPolicy(config.restart_policy)},
          {"restarts", record.restarts},
          {"health", HealthDetails(record)},
          {"stop_signal", config.stop_signal.empty() ? "SIGTERM" : config.stop_signal},
          {"cpus", config.cpus},
          {"memory_bytes", config.memory_bytes},
          {"resources", ResourceDetails(config.resources)},
          {"security", SecurityDetails(config)},
          {"kernel", config.kernel},
          {"platform", config.platform},
          {"supervisor_pid", running ? record.owner.pid : 0},
          {"vmm_pid", running ? record.vmm.pid : 0},
          {"log", store.LogPath(record.id)},
          {"folder", store.Folder(record.id)},
          {"run_folder", store.RunFolder(record.id)},
          {"events", std::move(events)},
          {"guard", GuardState(record)},
          {"counters", Counters(store, record)}};
}

}  // namespace

Result<int> Execute(const Folders& folders, const InspectOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  ordered_json list = ordered_json::array();
  HMVM_TRY_ASSIGN(const int exit_code, ForEach(options.containers, [&](const std::string& name) -> Result<> {
                    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
                    list.push_back(Details(store, record));
                    return {};
                  }));
  if (!list.empty()) HMVM_TRY(Print(FormatJson(list)));
  return exit_code;
}

}  // namespace hmvm
