#include "runtime/supervisor/supervisor.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "runtime/api/supervisor.pb.h"
#include "runtime/container/process_config.h"
#include "runtime/supervisor/agent_client.h"
#include "runtime/supervisor/guest_clock.h"
#include "runtime/supervisor/personality.h"
#include "runtime/supervisor/streams.h"
#include "runtime/supervisor/worker.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr int kHmvmFailed = 125;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
constexpr int kKilled = 128 + SIGKILL;
constexpr uint64_t kKillGraceMs =
    3000;  // from SIGKILL in the guest to the end of a machine that does not obey

// How the first process ended, or why there was none.
struct Outcome {
  std::optional<int> exit_status;  // it ended by itself
  int failure_code = kHmvmFailed;
  std::string failure;
  bool agent_gone = false;  // the failure is that nobody answers: the machine is ending and will say why
};

Outcome FailedBy(const Error& error) {
  return {.exit_status = {}, .failure = error.Message(), .agent_gone = error.code == ECONNRESET};
}

int CodeOfStartError(const Error& error) {
  if (error.code == ENOENT) return kNotFound;
  if (error.code == EACCES || error.code == EINVAL) return kCannotExecute;
  return kHmvmFailed;
}

class Supervisor {
 public:
  explicit Supervisor(SupervisorInput input)
      : store_(std::move(input.store)),
        record_(std::move(input.record)),
        files_(std::move(input.files)),
        window_(std::move(input.window)),
        client_(std::move(input.client)),
        client_streams_(std::move(input.client_streams)) {}
  ~Supervisor() {
    if (first_process_.joinable()) first_process_.join();
  }

  Result<> Run(const std::function<void()>& on_owned);

 private:
  using WaitResponder = TtrpcServer::Responder<api::WaitResponse>;
  using EmptyResponder = TtrpcServer::Responder<api::Empty>;

  Result<> StartMachine(const std::function<void()>& on_owned);
  Result<> Listen();
  void RegisterHandlers();
  void RunFirstProcess();
  void OnWallClockStep();
  Outcome DriveFirstProcess();

  void OnRunning();
  void OnOutcome(Outcome outcome);
  void OnMachineEnd();
  void Finish();
  void SettleRecord();
  void KeepLastWords() const;

  void HandleWait(const api::WaitRequest& request, WaitResponder respond);
  void HandleExec(const api::ExecRequest& request, TtrpcServer::Responder<api::ExecResponse> respond);
  void HandleSignal(const api::SignalRequest& request, EmptyResponder respond);
  void HandleResize(const api::ResizeRequest& request, EmptyResponder respond);
  void HandleStop(const api::StopRequest& request, WaitResponder respond);
  void HandleCounters(const api::Empty& request, TtrpcServer::Responder<api::CountersResponse> respond);

  Result<> BeginStopping();
  void SendSignal(const std::string& exec_id, int signal, bool all, EmptyResponder respond);
  void ArmTimer(uint64_t timeout_ms);
  void OnTimer();
  void EndMachine();
  api::WaitResponse FinalAnswer() const;
  Error NotRunning() const { return Error{EBUSY, "container '" + record_.name + "' is not running"}; }

  const ContainerStore store_;
  ContainerRecord record_;
  const MachineFiles files_;  // kept open: a restart needs them again
  const agent::v1::WindowSize window_;
  UniqueFd client_;
  ClientStreams client_streams_;

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<TtrpcServer> server_;
  UniqueFd listener_;
  Watch listener_watch_;
  UniqueFd timer_;
  Watch timer_watch_;
  bool kill_sent_ = false;

  std::unique_ptr<Machine> machine_;
  bool machine_ended_by_us_ = false;
  std::unique_ptr<AgentClient> agent_;
  const AdjustGuestClock adjust_clock_ = [this](int64_t step_ns) { return agent_->AdjustClock(step_ns); };
  std::optional<WallClockWatch> wall_clock_watch_;
  std::unique_ptr<StdioPumps> pumps_;
  std::thread first_process_;
  std::unique_ptr<Worker> worker_;  // signals and resizes to the agent, questions to the VMM
  std::map<std::string, std::thread> execs_;

  std::optional<Outcome> outcome_;
  bool finished_ = false;
  bool client_connected_ = false;
  std::atomic<bool> start_requested_ = false;  // the guest has booted and knows of the first process
  std::vector<std::function<void()>> signals_until_running_;
  std::vector<WaitResponder> until_running_;
  std::vector<WaitResponder> until_stopped_;
};

Result<> Supervisor::Run(const std::function<void()>& on_owned) {
  HMVM_TRY_ASSIGN(loop_, EventLoop::Create());
  server_ = std::make_unique<TtrpcServer>(*loop_);
  RegisterHandlers();
  if (client_.valid()) {
    HMVM_TRY(server_->Serve(std::move(client_), [this] {
      client_connected_ = false;
      if (finished_) loop_->Stop();
    }));
    client_connected_ = true;
  }
  if (auto started = StartMachine(on_owned); !started.has_value()) {
    outcome_ = FailedBy(started.error());
    EndMachine();
    if (machine_ == nullptr) Finish();  // else when it has ended
  }
  HMVM_TRY(loop_->Run());
  return {};
}

Result<> Supervisor::StartMachine(const std::function<void()>& on_owned) {
  record_.owner = *IdentifyProcess(::getpid());
  const std::string run_folder = store_.RunFolder(record_.id);
  HMVM_TRY_ASSIGN(LogWriter log, LogWriter::Create(store_.LogPath(record_.id)));
  HMVM_TRY_ASSIGN(UniqueFd vsock, ListenUnix(run_folder, "vsock.sock"));
  HMVM_TRY(Listen());
  HMVM_TRY_ASSIGN(
      machine_, Machine::Start(*loop_, record_.config, files_, std::move(vsock), [this] { OnMachineEnd(); }));
  agent_ = std::make_unique<AgentClient>(machine_->TakeAgentSocket());
  worker_ = std::make_unique<Worker>();
  pumps_ = std::make_unique<StdioPumps>(StdioPumps::Options{.run_folder = run_folder,
                                                            .terminal = record_.config.terminal,
                                                            .open_stdin = record_.config.open_stdin},
                                        std::move(log), std::move(client_streams_));
  // While the guest boots. Before there is any output: the client may leave as soon as it has seen some.
  if (const auto vmm = IdentifyProcess(machine_->pid())) record_.vmm = *vmm;
  HMVM_TRY(store_.Enter(record_, Status::kStarting));
  on_owned();
  HMVM_TRY_ASSIGN(wall_clock_watch_, WallClockWatch::Create(*loop_, [this] { OnWallClockStep(); }));
  first_process_ = std::thread([this] { RunFirstProcess(); });
  return {};
}

Result<> Supervisor::Listen() {
  HMVM_TRY_ASSIGN(listener_, ListenUnix(store_.RunFolder(record_.id), "supervisor.sock"));
  HMVM_TRY_ASSIGN(listener_watch_, loop_->OnReadable(listener_.get(), [this]() -> Result<> {
    UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    // Out of descriptors or the peer gave up: its loss, not ours.
    if (peer.valid()) (void)server_->Serve(std::move(peer));
    return {};
  }));
  return {};
}

void Supervisor::RegisterHandlers() {
  constexpr const char* kService = "hmvm.supervisor.v1.Supervisor";
  const auto handle = [&]<typename Request, typename Response>(
                          const char* method,
                          void (Supervisor::*handler)(const Request&, TtrpcServer::Responder<Response>)) {
    server_->Handle<Request, Response>(
        kService, method, [this, handler](const Request& request, TtrpcServer::Responder<Response> respond) {
          (this->*handler)(request, std::move(respond));
        });
  };
  handle("Wait", &Supervisor::HandleWait);
  handle("Exec", &Supervisor::HandleExec);
  handle("Signal", &Supervisor::HandleSignal);
  handle("Resize", &Supervisor::HandleResize);
  handle("Stop", &Supervisor::HandleStop);
  handle("Counters", &Supervisor::HandleCounters);
}

// --- The first process, on its own thread: a straight line of blocking calls.

void Supervisor::RunFirstProcess() {
  Outcome outcome = DriveFirstProcess();
  loop_->Post([this, outcome = std::move(outcome)]() mutable { OnOutcome(std::move(outcome)); });
}

Outcome Supervisor::DriveFirstProcess() {
  if (auto personalised = agent_->Personalise(NewPersonality(record_.config.hostname));
      !personalised.has_value()) {
    return FailedBy(Wrap("give the guest its identity", personalised.error()));
  }
  agent::v1::CreateContainerRequest create;
  create.set_container_id(record_.id);
  create.mutable_rootfs()->set_lower_device("/dev/vda");
  create.mutable_rootfs()->set_upper_memory_bytes(0);
  create.set_hostname(record_.config.hostname);
  create.set_read_only(record_.config.read_only);
  if (auto created = agent_->CreateContainer(create); !created.has_value()) {
    return FailedBy(Wrap("make the container in the guest", created.error()));
  }
  if (auto set = SetGuestClock(adjust_clock_); !set.has_value()) {
    return FailedBy(Wrap("set the guest's clock", set.error()));
  }
  pumps_->Start([this](const Error& error) { loop_->Post([this, error] { OnOutcome(FailedBy(error)); }); });
  agent::v1::StartProcessRequest start;
  start.set_container_id(record_.id);
  *start.mutable_process() = MakeAgentProcess(record_.config, window_);
  start.set_stdin_stream(pumps_->stdin_stream());
  start.set_stdout_stream(pumps_->stdout_stream());
  start.set_stderr_stream(pumps_->stderr_stream());
  start_requested_ = true;
  if (auto started = agent_->StartProcess(start); !started.has_value()) {
    Outcome outcome = FailedBy(started.error());
    outcome.failure_code = CodeOfStartError(started.error());
    if (outcome.failure_code != kHmvmFailed)
      outcome.failure = started.error().what;  // the agent has said why
    return outcome;
  }
  loop_->Post([this] { OnRunning(); });
  auto ended = agent_->WaitProcess(record_.id, "");
  if (!ended.has_value()) return FailedBy(ended.error());
  pumps_->JoinOutput();
  return {.exit_status = static_cast<int>(ended->exit_status()), .failure = {}};
}

// --- Events, on the loop's thread.

void Supervisor::OnRunning() {
  if (record_.status() != Status::kStarting) return;  // asked to stop meanwhile
  if (auto entered = store_.Enter(record_, Status::kRunning); !entered.has_value()) {
    OnOutcome(FailedBy(entered.error()));
    return;
  }
  for (auto& respond : until_running_) respond(api::WaitResponse());
  until_running_.clear();
  for (const auto& send : signals_until_running_) send();
  signals_until_running_.clear();
}

// Somebody set the host's clock: the guest's follows. Where it can't, the guest is gone, and others find out.
void Supervisor::OnWallClockStep() {
  worker_->Post([this] { static_cast<void>(SetGuestClock(adjust_clock_)); });
}

void Supervisor::OnOutcome(Outcome outcome) {
  if (outcome_.has_value()) return;  // the first word counts: what follows it is its consequence
  outcome_ = std::move(outcome);
  if (machine_->ended()) {
    Finish();
  } else if (!outcome_->agent_gone) {
    EndMachine();
  } else {
    kill_sent_ = true;
    ArmTimer(kKillGraceMs);
  }
}

void Supervisor::OnMachineEnd() {
  agent_->Close();
  if (outcome_.has_value()) Finish();
}

void Supervisor::EndMachine() {
  if (machine_ == nullptr || machine_->ended()) return;
  machine_ended_by_us_ = true;
  machine_->Kill();
}

// The end: settles what the container has become, tells whoever waits.
void Supervisor::Finish() {
  if (finished_) return;
  finished_ = true;
  timer_watch_ = Watch();
  listener_watch_ = Watch();
  wall_clock_watch_.reset();
  if (agent_ != nullptr) agent_->Close();
  if (pumps_ != nullptr && !outcome_->exit_status.has_value()) pumps_->DropClient();
  if (first_process_.joinable()) first_process_.join();
  if (pumps_ != nullptr) pumps_->Join();
  worker_.reset();
  for (auto& [id, thread] : execs_) thread.join();
  execs_.clear();
  SettleRecord();
  // Those who wait get their answer only now that the files tell the same.
  for (auto* waiting : {&until_running_, &until_stopped_}) {
    for (auto& respond : *waiting) respond(FinalAnswer());
    waiting->clear();
  }
  // Our client may not have asked yet; it hangs up when it has what it wants.
  if (!client_connected_) loop_->Stop();
}

void Supervisor::SettleRecord() {
  const bool ran = record_.EnteredUnixNs(Status::kRunning) != 0;
  Status end = Status::kStopped;
  if (outcome_->exit_status.has_value()) {
    record_.exit_code = *outcome_->exit_status;
  } else if (record_.status() == Status::kStopping) {
    if (record_.exit_code == 0) record_.exit_code = kKilled;
  } else {
    const bool machine_failed = machine_ != nullptr && machine_->ended() && !machine_ended_by_us_;
    record_.reason = machine_failed ? machine_->EndReason(record_.config) : outcome_->failure;
    record_.exit_code = ran ? kKilled : outcome_->failure_code;
    end = Status::kFailed;
  }
  if (end == Status::kFailed && ran && !record_.config.auto_remove) KeepLastWords();
  // A state file that can't be written keeps "running", which our end will belie.
  (void)store_.End(record_, end);
  // What never ran leaves nothing behind.
  if (record_.config.auto_remove || (end == Status::kFailed && !ran)) (void)store_.Remove(record_.id);
}

void Supervisor::KeepLastWords() const {
  if (machine_ == nullptr) return;
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/console.log", machine_->console(), 0600);
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/vmm.log", machine_->vmm_log(), 0600);
}

api::WaitResponse Supervisor::FinalAnswer() const {
  api::WaitResponse answer;
  answer.set_exit_code(record_.exit_code);
  answer.set_failure(record_.reason);
  return answer;
}

// --- Calls.

void Supervisor::HandleWait(const api::WaitRequest& request, WaitResponder respond) {
  if (finished_) return respond(FinalAnswer());
  if (request.until() == api::WaitRequest::STOPPED) {
    until_stopped_.push_back(std::move(respond));
  } else if (record_.status() == Status::kStarting) {
    until_running_.push_back(std::move(respond));
  } else {
    respond(api::WaitResponse());
  }
}

void Supervisor::HandleExec(const api::ExecRequest& request,
                            TtrpcServer::Responder<api::ExecResponse> respond) {
  if (finished_ || record_.status() != Status::kRunning) return respond(NotRunning());
  if (request.exec_id().empty()) return respond(Error{EINVAL, "exec without an id"});
  if (execs_.contains(request.exec_id())) return respond(Error{EEXIST, "exec '" + request.exec_id() + "'"});
  agent::v1::StartProcessRequest start;
  start.set_container_id(record_.id);
  start.set_process_id(request.exec_id());
  *start.mutable_process() = request.process();
  start.set_stdin_stream(request.stdin_stream());
  start.set_stdout_stream(request.stdout_stream());
  start.set_stderr_stream(request.stderr_stream());
  execs_[request.exec_id()] = std::thread([this, start = std::move(start), respond = std::move(respond)] {
    const std::string& id = start.process_id();
    auto result = [&]() -> Result<api::ExecResponse> {
      HMVM_TRY(agent_->StartProcess(start));
      HMVM_TRY_ASSIGN(const auto ended, agent_->WaitProcess(record_.id, id));
      HMVM_TRY(agent_->RemoveProcess(record_.id, id));
      api::ExecResponse response;
      response.set_exit_status(ended.exit_status());
      return response;
    }();
    loop_->Post([this, id, respond, result = std::move(result)] {
      if (const auto found = execs_.find(id); found != execs_.end()) {
        found->second.join();
        execs_.erase(found);
      }
      respond(result);
    });
  });
}

void Supervisor::HandleSignal(const api::SignalRequest& request, EmptyResponder respond) {
  if (finished_) return respond(NotRunning());
  const int signal = static_cast<int>(request.signal());
  if (record_.status() == Status::kStarting && start_requested_) {
    // The process may run by now, and its first words be out: the signal is for it.
    signals_until_running_.push_back([this, id = request.exec_id(), signal, respond = std::move(respond)] {
      SendSignal(id, signal, false, respond);
    });
    return;
  }
  if (record_.status() == Status::kStarting) {
    record_.exit_code = 128 + signal;
    if (auto stopping = BeginStopping(); !stopping.has_value()) return respond(stopping.error());
    EndMachine();
    return respond(api::Empty());
  }
  SendSignal(request.exec_id(), signal, false, std::move(respond));
}

void Supervisor::HandleResize(const api::ResizeRequest& request, EmptyResponder respond) {
  if (finished_) return respond(NotRunning());
  agent::v1::ResizeTerminalRequest resize;
  resize.set_container_id(record_.id);
  resize.set_process_id(request.exec_id());
  *resize.mutable_window() = request.window();
  worker_->Post([this, resize = std::move(resize), respond = std::move(respond)] {
    auto result = agent_->ResizeTerminal(resize);
    loop_->Post([result, respond] {
      if (!result.has_value()) return respond(result.error());
      respond(api::Empty());
    });
  });
}

void Supervisor::HandleStop(const api::StopRequest& request, WaitResponder respond) {
  if (finished_) return respond(FinalAnswer());
  until_stopped_.push_back(std::move(respond));
  const bool booting = record_.status() == Status::kStarting;
  if (record_.status() != Status::kStopping) (void)BeginStopping();
  if (booting) return EndMachine();
  if (request.timeout_ms() == 0) return OnTimer();
  const auto signal = ParseSignal(record_.config.stop_signal);
  SendSignal("", signal.value_or(SIGTERM), false, [](const Result<api::Empty>&) {});
  if (!kill_sent_) ArmTimer(request.timeout_ms());
}

void Supervisor::HandleCounters(const api::Empty&, TtrpcServer::Responder<api::CountersResponse> respond) {
  if (finished_ || worker_ == nullptr) return respond(NotRunning());
  worker_->Post([this, respond = std::move(respond)] {
    auto described = machine_->Describe();
    loop_->Post([described = std::move(described), respond] {
      if (!described.has_value()) return respond(described.error());
      api::CountersResponse response;
      *response.mutable_counters() = described->counters();
      respond(std::move(response));
    });
  });
}

Result<> Supervisor::BeginStopping() { return store_.Enter(record_, Status::kStopping); }

void Supervisor::SendSignal(const std::string& exec_id, int signal, bool all, EmptyResponder respond) {
  agent::v1::SignalProcessRequest request;
  request.set_container_id(record_.id);
  request.set_process_id(exec_id);
  request.set_signal(static_cast<uint32_t>(signal));
  request.set_all(all);
  worker_->Post([this, request = std::move(request), respond = std::move(respond)] {
    auto result = agent_->SignalProcess(request);
    loop_->Post([result, respond] {
      if (!result.has_value()) return respond(result.error());
      respond(api::Empty());
    });
  });
}

void Supervisor::ArmTimer(uint64_t timeout_ms) {
  timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec when = {};
  when.it_value.tv_sec = static_cast<time_t>(timeout_ms / 1000);
  when.it_value.tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000;
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
  auto watch = loop_->OnReadable(timer_.get(), [this]() -> Result<> {
    OnTimer();
    return {};
  });
  if (watch.has_value()) {
    timer_watch_ = std::move(watch).value();
  } else {
    EndMachine();  // without a timer there is no grace
  }
}

// The time to stop by itself is over: SIGKILL, and the machine's end when even that does not help.
void Supervisor::OnTimer() {
  timer_watch_ = Watch();
  if (kill_sent_) {
    if (pumps_ != nullptr) pumps_->DropClient();
    return EndMachine();
  }
  kill_sent_ = true;
  SendSignal("", SIGKILL, true, [](const Result<api::Empty>&) {});
  ArmTimer(kKillGraceMs);
}

}  // namespace

void Supervise(SupervisorInput input, const std::function<void()>& on_owned) {
  Supervisor supervisor(std::move(input));
  // Fails only without descriptors or memory for the loop itself. The client sees the connection end, and the
  // state file names a process that is gone.
  (void)supervisor.Run(on_owned);
}

agent::v1::Process MakeAgentProcess(const ContainerConfig& config, const agent::v1::WindowSize& window) {
  agent::v1::Process process;
  for (const std::string& argument : config.args) process.add_args(argument);
  for (const std::string& variable : config.env) process.add_env(variable);
  process.set_cwd(config.working_dir);
  process.set_user(config.user);
  process.set_terminal(config.terminal);
  if (config.terminal) *process.mutable_window() = window;
  for (const std::string& capability : DefaultCapabilities()) process.add_capabilities(capability);
  return process;
}

}  // namespace hmvm
