#include "runtime/supervisor/container_run.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "base/clock.h"
#include "base/file.h"
#include "runtime/container/process_config.h"
#include "runtime/supervisor/personality.h"
#include "runtime/supervisor/streams.h"

namespace hmvm {
namespace {

constexpr int kHmvmFailed = RunEnd::kHmvmFailed;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
// How long a machine whose agent does not answer any more gets to end and say why.
constexpr std::chrono::seconds kLastWordsTime{3};
// A guest that goes on from a template answers in milliseconds, or never.
constexpr std::chrono::seconds kRestoreTime{20};
constexpr std::chrono::seconds kPlugTimeOfGib{1};  // where memory is added; tenths of it at most

agent::v1::Resources MakeAgentResources(const ContainerConfig& config) {
  const Resources& wanted = config.resources;
  agent::v1::Resources resources;
  resources.set_memory_max_bytes(GuestMemoryMax(config.memory_bytes));
  resources.set_pids_max(wanted.pids_limit);
  // No quota of processor time, which the host holds: to the guest's scheduler a processor that the host has
  // taken away is still in use, so that it would take the same time off once more.
  if (wanted.cpu_shares != 0) resources.set_cpu_weight(static_cast<uint32_t>(CpuWeight(wanted.cpu_shares)));
  return resources;
}

int CodeOfStartError(const Error& error) {
  if (error.code == ENOENT) return kNotFound;
  if (error.code == EACCES || error.code == EINVAL) return kCannotExecute;
  return kHmvmFailed;
}

std::optional<StdioPumps::Options::Streams> StreamsOf(const std::optional<SnapshotContainer>& resumed) {
  if (!resumed.has_value()) return std::nullopt;
  return StdioPumps::Options::Streams{resumed->stdin_stream, resumed->stdout_stream, resumed->stderr_stream};
}

}  // namespace

agent::v1::Process MakeAgentProcess(const ContainerConfig& config, const agent::v1::WindowSize& window) {
  agent::v1::Process process;
  for (const std::string& argument : config.args) process.add_args(argument);
  for (const std::string& variable : config.env) process.add_env(variable);
  process.set_cwd(config.working_dir);
  process.set_user(config.user);
  process.set_terminal(config.terminal);
  if (config.terminal) *process.mutable_window() = window;
  const Confinement& confinement = config.confinement;
  for (std::string& name : NamesOfCapabilities(confinement.capabilities)) {
    process.add_capabilities(std::move(name));
  }
  process.set_no_new_privileges(confinement.no_new_privileges);
  process.set_seccomp_filter(confinement.seccomp_filter);
  return process;
}

Result<std::unique_ptr<ContainerRun>> ContainerRun::Start(EventLoop& loop, const MachineFiles& files,
                                                          Options options) {
  std::unique_ptr<ContainerRun> run(new ContainerRun(loop, files, std::move(options)));
  ContainerRun& self = *run;
  HMVM_TRY_ASSIGN(LogWriter log, LogWriter::Open(self.options_.log_path));
  // An earlier run's, whose VMM is gone.
  if (::unlink((self.options_.run_folder + "/vsock.sock").c_str()) < 0 && errno != ENOENT) {
    return Error{errno, "remove '" + self.options_.run_folder + "/vsock.sock'"};
  }
  HMVM_TRY_ASSIGN(self.vsock_, ListenUnix(self.options_.run_folder, "vsock.sock"));
  HMVM_TRY(self.StartMachine(self.options_.boot));
  self.pumps_ =
      std::make_unique<StdioPumps>(StdioPumps::Options{.run_folder = self.options_.run_folder,
                                                       .terminal = self.options_.config.terminal,
                                                       .open_stdin = self.options_.config.open_stdin,
                                                       .streams = StreamsOf(self.options_.resumed)},
                                   std::move(log), std::move(self.options_.client_streams));
  return run;
}

void ContainerRun::Drive() {
  first_process_ = std::thread([this] { PostOutcome(DriveFirstProcess()); });
}

Result<> ContainerRun::StartMachine(bool boot) {
  restored_ = files_.snapshot.has_value() && !boot;
  // An earlier machine has ended, and with it what it was asked.
  of_agent_ = std::make_unique<Worker>();
  of_machine_ = std::make_unique<Worker>();
  HMVM_TRY_ASSIGN(UniqueFd vsock, Duplicate(vsock_.get()));
  HMVM_TRY_ASSIGN(machine_, Machine::Start(loop_, options_.id, options_.config, files_, boot,
                                           std::move(vsock), options_.guard, [this] { OnMachineEnd(); }));
  // Until it starts the container's process, nothing runs in a template's guest but what is ours.
  const bool from_template = restored_ && !options_.resumed.has_value();
  if (from_template && options_.config.resources.cpu_quota_us != 0) {
    HMVM_TRY_ASSIGN(lifted_quota_, machine_->LiftCpuQuota());
  } else {
    lifted_quota_ = LiftedCpuQuota();
  }
  agent_ = std::make_unique<AgentClient>(machine_->TakeAgentSocket());
  start_times_.vmm_started = NowMonotonicNs();
  return {};
}

// A template that is damaged or does not fit is no reason for a container not to start. Nothing of it has
// been in the guest, nor has anything asked the agent: the machine is made anew.
void ContainerRun::BootInstead() {
  template_failure_ = machine_ended_by_us_ ? outcome_->failure : machine_->EndReason(options_.config);
  files_.snapshot->discard();
  first_process_.join();
  outcome_.reset();
  ended_ = false;
  machine_ended_by_us_ = false;
  if (auto started = StartMachine(/*boot=*/true); !started.has_value()) {
    return OnOutcome(FailedBy(started.error()));
  }
  Drive();
}

ContainerRun::~ContainerRun() {
  if (machine_ == nullptr) return;
  if (agent_ != nullptr) agent_->Close();
  if (pumps_ != nullptr) pumps_->DropClient();
  machine_->Kill();
  JoinAll();
}

void ContainerRun::JoinAll() {
  // A thread whose connection the VMM had not accepted when it ended waits for as long as anybody listens.
  vsock_.reset();
  if (first_process_.joinable()) first_process_.join();
  if (pumps_ != nullptr) pumps_->Join();
  of_agent_.reset();
  of_machine_.reset();
  for (auto& [id, thread] : beside_) thread.join();
  beside_.clear();
}

// --- The first process, on its own thread: a straight line of blocking calls.

ContainerRun::Outcome ContainerRun::FailedBy(const Error& error) {
  return {.exit_status = {},
          .failure = error.Message(),
          .failure_code = kHmvmFailed,
          .agent_gone = error.code == ECONNRESET};
}

void ContainerRun::PostOutcome(Outcome outcome) {
  loop_.Post([this, alive = std::weak_ptr(alive_), outcome = std::move(outcome)]() mutable {
    if (!alive.expired()) OnOutcome(std::move(outcome));
  });
}

ContainerRun::Outcome ContainerRun::DriveFirstProcess() {
  const ContainerConfig& config = options_.config;
  if (options_.resumed.has_value()) return Resume();
  auto patience = restored_ ? TtrpcClient::Timeout(kRestoreTime) : std::nullopt;
  agent::v1::PersonaliseRequest personality = NewPersonality(config.hostname);
  if (restored_) {
    personality.set_cpus(files_.snapshot->cpus);
    personality.set_added_memory_bytes(files_.snapshot->added_bytes);
    *patience += kPlugTimeOfGib * static_cast<int>(files_.snapshot->added_bytes >> 30);
  }
  if (auto own = agent_->Personalise(personality, patience); !own.has_value()) {
    Outcome outcome = FailedBy(Wrap("give the guest its identity", own.error()));
    outcome.restore_failed = restored_;
    return outcome;
  }
  start_times_.agent_answered = NowMonotonicNs();
  if (restored_) files_.snapshot->note_whole();  // else the guest would not have run
  agent::v1::CreateContainerRequest create;
  create.set_container_id(options_.id);
  create.mutable_rootfs()->set_lower_device("/dev/vda");
  create.mutable_rootfs()->set_upper_memory_bytes(0);
  create.set_hostname(config.hostname);
  create.set_read_only(config.read_only);
  create.set_open_system_paths(config.confinement.open_system_paths);
  create.set_writable_system_mounts(config.confinement.privileged);
  create.set_all_devices(config.confinement.privileged);
  for (const std::string& device : config.confinement.devices) create.add_devices(device);
  *create.mutable_resources() = MakeAgentResources(config);
  if (auto created = agent_->CreateContainer(create); !created.has_value()) {
    return FailedBy(Wrap("make the container in the guest", created.error()));
  }
  start_times_.container_made = NowMonotonicNs();
  if (auto set = SetGuestClock(adjust_clock_); !set.has_value()) {
    return FailedBy(Wrap("set the guest's clock", set.error()));
  }
  pumps_->Start([this](const Error& error) { PostOutcome(FailedBy(error)); });
  agent::v1::StartProcessRequest start;
  start.set_container_id(options_.id);
  *start.mutable_process() = MakeAgentProcess(config, options_.window);
  start.set_stdin_stream(pumps_->stdin_stream());
  start.set_stdout_stream(pumps_->stdout_stream());
  start.set_stderr_stream(pumps_->stderr_stream());
  if (auto held = lifted_quota_.Hold(); !held.has_value()) return FailedBy(held.error());
  start_requested_ = true;
  if (auto started = agent_->StartProcess(start); !started.has_value()) {
    Outcome outcome = FailedBy(started.error());
    outcome.failure_code = CodeOfStartError(started.error());
    if (outcome.failure_code != kHmvmFailed) {
      outcome.failure = started.error().what;  // the agent has said why
    }
    return outcome;
  }
  return AwaitFirstProcess();
}

// The container's processes are held until the guest is its own.
ContainerRun::Outcome ContainerRun::Resume() {
  if (auto set = SetGuestClock(adjust_clock_); !set.has_value()) {
    return FailedBy(Wrap("set the guest's clock", set.error()));
  }
  if (auto own = agent_->Personalise(NewPersonality(options_.config.hostname), kRestoreTime);
      !own.has_value()) {
    return FailedBy(Wrap("give the guest its identity", own.error()));
  }
  pumps_->Start([this](const Error& error) { PostOutcome(FailedBy(error)); });
  start_requested_ = true;
  return AwaitFirstProcess();
}

ContainerRun::Outcome ContainerRun::AwaitFirstProcess() {
  start_times_.process_started = NowMonotonicNs();
  loop_.Post([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) options_.on_running();
  });
  auto ended = agent_->WaitProcess(guest_id(), "");
  if (!ended.has_value()) return FailedBy(ended.error());
  KeepWorkingSet();
  pumps_->JoinOutput();
  return {.exit_status = static_cast<int>(ended->exit_status()),
          .failure = {},
          .oom_killed = ended->oom_killed()};
}

// The first that goes on from a template tells what the others will write to. A container that has written to
// a lot tells nothing: the VMM refuses.
void ContainerRun::KeepWorkingSet() {
  if (!restored_ || files_.snapshot->keep_working_set == nullptr) return;
  if (const auto pages = machine_->WorkingSet(); pages.has_value()) {
    files_.snapshot->keep_working_set(pages->SerializeAsString());
  }
}

Result<vmm::v1::SnapshotResponse> ContainerRun::Snapshot(const std::string& folder,
                                                         SnapshotContainer container,
                                                         vmm::v1::SnapshotRequest request) {
  container.guest_id = guest_id();
  container.stdin_stream = pumps_->stdin_stream();
  container.stdout_stream = pumps_->stdout_stream();
  container.stderr_stream = pumps_->stderr_stream();
  // Not on the disk before the whole draft is, if it ever gets a name.
  HMVM_TRY(WriteFileAtomic(folder + "/container.json", EncodeSnapshotContainer(container), 0600,
                           Outlives::kThisProcess));
  HMVM_TRY_ASSIGN(const UniqueFd state, OpenFile(folder + "/machine.pb", O_RDWR | O_CREAT | O_EXCL, 0600));
  HMVM_TRY_ASSIGN(const UniqueFd memory, OpenFile(folder + "/memory", O_RDWR | O_CREAT | O_EXCL, 0600));
  request.set_live(true);
  HMVM_TRY(machine_->PrepareSnapshot(state, memory, request));
  // Nothing of the container may run in a restored guest before that is its own.
  HMVM_TRY(agent_->Freeze());
  request.set_prepared(true);
  auto taken = machine_->Snapshot(request);
  HMVM_TRY(agent_->Thaw());
  return taken;
}

// --- On the loop's thread.

void ContainerRun::Signal(const std::string& process_id, int signal, bool all,
                          std::function<void(Result<>)> done) {
  agent::v1::SignalProcessRequest request;
  request.set_container_id(guest_id());
  request.set_process_id(process_id);
  request.set_signal(static_cast<uint32_t>(signal));
  request.set_all(all);
  AskAgent<void>([request = std::move(request)](AgentClient& agent) { return agent.SignalProcess(request); },
                 std::move(done));
}

void ContainerRun::SetClock() {
  // Where it can't, the guest is gone, and others find out.
  of_agent_->Post([this] { static_cast<void>(SetGuestClock(adjust_clock_)); });
}

Result<> ContainerRun::Beside(const std::string& id, std::function<void(AgentClient&)> use) {
  if (beside_.contains(id)) return Error{EEXIST, "process '" + id + "'"};
  beside_[id] = std::thread([this, id, use = std::move(use)] {
    use(*agent_);
    loop_.Post([this, id, alive = std::weak_ptr(alive_)] {
      if (alive.expired()) return;
      const auto found = beside_.find(id);
      if (found == beside_.end()) return;
      found->second.join();
      beside_.erase(found);
    });
  });
  return {};
}

void ContainerRun::OnOutcome(Outcome outcome) {
  if (outcome_.has_value()) return;  // the first word counts: what follows it is its consequence
  outcome_ = std::move(outcome);
  if (machine_->ended()) {
    Finish();
  } else if (!outcome_->agent_gone || !power_cut_.Set(kLastWordsTime, [this] { CutPower(); }).has_value()) {
    CutPower();
  }
  if (outcome_->exit_status.has_value()) options_.on_exit(*outcome_->exit_status, outcome_->oom_killed);
}

void ContainerRun::OnMachineEnd() {
  power_cut_.Clear();
  agent_->Close();
  if (outcome_.has_value()) Finish();
}

void ContainerRun::EndMachine() {
  asked_to_end_ = true;
  pumps_->DropClient();
  CutPower();
}

void ContainerRun::CutPower() {
  if (machine_->ended()) return;
  machine_ended_by_us_ = true;
  machine_->Kill();
}

void ContainerRun::Finish() {
  if (ended_) return;
  ended_ = true;
  loop_.Post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    if (outcome_->restore_failed && !asked_to_end_) return BootInstead();
    options_.on_end();
  });
}

RunEnd ContainerRun::Conclude() {
  agent_->Close();
  if (!outcome_->exit_status.has_value()) pumps_->DropClient();
  JoinAll();
  // What ended it by itself comes before what that looked like from here.
  const bool machine_failed =
      !outcome_->exit_status.has_value() && (!machine_ended_by_us_ || machine_->Failed());
  return {.exit_status = outcome_->exit_status,
          .failure = machine_failed ? machine_->EndReason(options_.config) : outcome_->failure,
          .failure_code = outcome_->failure_code,
          .oom_killed = outcome_->oom_killed,
          .console = machine_->console(),
          .vmm_log = machine_->vmm_log()};
}

}  // namespace hmvm
