// The commands that look after containers: ps, pause, resume, stop, kill, rm, wait, inspect.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

namespace api = supervisor::v1;
using nlohmann::ordered_json;

constexpr size_t kShortId = 12;
constexpr size_t kCommandColumn = 40;
// How long a supervisor gets to end a container that is removed by force, before it is killed itself.
constexpr std::chrono::seconds kForceLimit{10};

int64_t NowUnixNs() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

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

// Any bytes as JSON text: what is no UTF-8 is replaced.
std::string Dump(const ordered_json& value) {
  return value.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
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

Error NotRunning(const ContainerRecord& record) {
  return Error{0, "container '" + record.name + "' is not running"};
}

Result<SupervisorClient> ConnectTo(const ContainerStore& store, const ContainerRecord& record) {
  if (!record.live()) return NotRunning(record);
  auto client = SupervisorClient::Connect(store, record.id);
  // It has ended since we read its state.
  if (!client.has_value()) return NotRunning(record);
  return client;
}

// Blocks until the process ends; false when the time is over before.
bool WaitForEnd(const UniqueFd& pidfd, int timeout_ms) {
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  int got = 0;
  do {
    got = ::poll(&ended, 1, timeout_ms);
  } while (got < 0 && errno == EINTR);
  return got > 0;
}

void KillAndWait(const ProcessIdentity& identity) {
  const UniqueFd pidfd = OpenProcess(identity);
  if (!pidfd.valid()) return;
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  WaitForEnd(pidfd, -1);
}

// Pause and Resume: `call` to each container's supervisor.
Result<int> AskEach(const Folders& folders, const std::vector<std::string>& names, Status wanted,
                    Result<> (SupervisorClient::*call)()) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(names, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    if (!record.live())
      return Error{0, "container '" + record.name + "' " + WhyIllegal(record.status(), wanted)};
    HMVM_TRY_ASSIGN(SupervisorClient supervisor, ConnectTo(store, record));
    if (auto done = (supervisor.*call)(); !done.has_value()) {
      if (done.error().code == ECONNRESET) return Error{0, "container '" + record.name + "' has ended"};
      return Error{0, done.error().what};
    }
    return Print(name + "\n");
  });
}

}  // namespace

Result<int> ForEach(const std::vector<std::string>& names,
                    const std::function<Result<>(const std::string&)>& act) {
  int exit_code = 0;
  for (const std::string& name : names) {
    if (auto done = act(name); !done.has_value()) {
      PrintError(done.error().Message());
      exit_code = kExitFailed;
    }
  }
  return exit_code;
}

Result<int> Execute(const Folders& folders, const PauseOptions& options) {
  return AskEach(folders, options.containers, Status::kPausing, &SupervisorClient::Pause);
}

Result<int> Execute(const Folders& folders, const ResumeOptions& options) {
  return AskEach(folders, options.containers, Status::kResuming, &SupervisorClient::Resume);
}

Result<int> Execute(const Folders& folders, const PsOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
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
  HMVM_TRY(Print(options.quiet ? ids : options.json ? Dump(list) : table.Format()));
  return 0;
}

Result<> StopContainer(const ContainerStore& store, const ContainerRecord& record, uint32_t timeout_s) {
  if (!record.live()) return {};
  auto supervisor = SupervisorClient::Connect(store, record.id);
  // It has ended since we read its state.
  if (!supervisor.has_value()) return {};
  auto stopped = supervisor->Stop(uint64_t{timeout_s} * 1000);
  if (!stopped.has_value() && stopped.error().code != ECONNRESET) return stopped.error();
  return {};
}

Result<int> Execute(const Folders& folders, const StopOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    HMVM_TRY(StopContainer(store, record, options.timeout_s));
    return Print(name + "\n");
  });
}

Result<int> Execute(const Folders& folders, const KillOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    HMVM_TRY_ASSIGN(SupervisorClient supervisor, ConnectTo(store, record));
    if (auto sent = supervisor.Signal("", options.signal); !sent.has_value()) {
      if (sent.error().code == ECONNRESET) return Error{0, "container '" + record.name + "' has ended"};
      return Wrap("container '" + record.name + "'", sent.error());
    }
    return Print(name + "\n");
  });
}

Result<> RemoveByForce(const ContainerStore& store, const ContainerRecord& record) {
  // Its supervisor can tell those who wait how it ended, if it still listens.
  if (auto supervisor = SupervisorClient::Connect(store, record.id); supervisor.has_value()) {
    (void)supervisor->Stop(0, kForceLimit);
    if (const UniqueFd pidfd = OpenProcess(record.owner); pidfd.valid()) WaitForEnd(pidfd, 1000);
  }
  KillAndWait(record.owner);
  KillAndWait(record.vmm);
  return store.Remove(record.id);
}

Result<int> Execute(const Folders& folders, const RmOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerStore::Entry entry, store.FindEntry(name));
    const ContainerRecord& record = entry.record;
    if (options.force) {
      HMVM_TRY(RemoveByForce(store, record));
    } else if (!entry.problem.empty()) {
      return Error{0, entry.problem + "; `hmvm rm -f` removes the container"};
    } else if (record.live()) {
      return Error{0, "container '" + record.name + "' is " + std::string(StatusName(record.status())) +
                          ": stop it first, or use rm -f"};
    } else {
      HMVM_TRY(store.Remove(record.id));
    }
    return Print(name + "\n");
  });
}

Result<int> Execute(const Folders& folders, const WaitOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(ContainerRecord record, store.Find(name));
    if (record.live()) {
      const UniqueFd owner = OpenProcess(record.owner);
      auto supervisor = SupervisorClient::Connect(store, record.id);
      if (supervisor.has_value()) {
        const auto answer = supervisor->Wait(api::WaitRequest::STOPPED);
        if (answer.has_value()) return Print(std::to_string(answer->exit_code()) + "\n");
      }
      // Without an answer it has ended, well or not: the state file tells once its process is gone.
      if (owner.valid()) WaitForEnd(owner, -1);
      HMVM_TRY_ASSIGN(record, store.Load(record.id));
    }
    return Print(std::to_string(record.exit_code) + "\n");
  });
}

Result<int> Execute(const Folders& folders, const InspectOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  ordered_json list = ordered_json::array();
  HMVM_TRY_ASSIGN(const int exit_code, ForEach(options.containers, [&](const std::string& name) -> Result<> {
                    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
                    list.push_back(Details(store, record));
                    return {};
                  }));
  if (!list.empty()) HMVM_TRY(Print(Dump(list)));
  return exit_code;
}

}  // namespace hmvm
