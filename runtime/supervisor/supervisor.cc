#include "runtime/supervisor/supervisor.h"

#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "runtime/api/supervisor.pb.h"
#include "runtime/container/process_config.h"
#include "runtime/supervisor/container_run.h"
#include "runtime/supervisor/guest_clock.h"
#include "runtime/supervisor/health_monitor.h"
#include "runtime/supervisor/health_probe.h"
#include "runtime/supervisor/host_cost.h"
#include "runtime/supervisor/stop_sequence.h"
#include "runtime/supervisor/streams.h"
#include "runtime/supervisor/timer.h"
#include "runtime/supervisor/worker.h"
#include "security/guard/audit.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr int kKilled = 128 + SIGKILL;

std::chrono::nanoseconds SinceUnix(int64_t unix_ns) {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::chrono::nanoseconds(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec - unix_ns);
}

class Supervisor {
 public:
  explicit Supervisor(SupervisorInput input)
      : store_(std::move(input.store)),
        record_(std::move(input.record)),
        files_(std::move(input.files)),
        resumed_(std::move(input.resumed)),
        window_(std::move(input.window)),
        client_(std::move(input.client)),
        client_streams_(std::move(input.client_streams)) {}

  Result<> Run(std::function<void()> on_owned);

 private:
  using WaitResponder = TtrpcServer::Responder<api::WaitResponse>;
  using EmptyResponder = TtrpcServer::Responder<api::Empty>;

  Result<> Prepare();
  Result<> Listen();
  void RegisterHandlers();

  Result<> StartRun();
  void OnRunning();
  void OnExit(int exit_status, bool oom_killed);
  void OnRunEnd();
  void Settle(const RunEnd& end);
  bool Restarts() const;
  void AwaitRestart();
  void OnRestartTime();
  void Finish(Status end);
  void StopIfDone();
  void ProbeHealth(HealthMonitor::Done done);
  void OnProbeResult(ProbeResult result);
  void OnGuardEvent(const GuardEvent& event);
  void KeepLastWords(const RunEnd& end) const;

  void HandleWait(const api::WaitRequest& request, WaitResponder respond);
  void HandleExec(const api::ExecRequest& request, TtrpcServer::Responder<api::ExecResponse> respond);
  void HandleSignal(const api::SignalRequest& request, EmptyResponder respond);
  void HandleResize(const api::ResizeRequest& request, EmptyResponder respond);
  void HandleStop(const api::StopRequest& request, WaitResponder respond);
  void HandlePause(const api::Empty& request, EmptyResponder respond);
  void HandleResume(const api::Empty& request, EmptyResponder respond);
  void HandleSnapshot(const api::SnapshotRequest& request,
                      TtrpcServer::Responder<api::SnapshotResponse> respond);
  void HandleStats(const api::Empty& request, TtrpcServer::Responder<api::StatsResponse> respond);
  void HandleListProcesses(const api::Empty& request,
                           TtrpcServer::Responder<agent::v1::ListProcessesResponse> respond);
  void HandleCounters(const api::Empty& request, TtrpcServer::Responder<api::CountersResponse> respond);

  // Pauses or resumes: through `during` to `after`, or back to what it was.
  void Move(Status during, Status after, Result<> (Machine::*call)() const, EmptyResponder respond);
  // What is paused, or about to be, goes on so that it can end.
  void LetGo();
  int StopSignal() const { return ParseSignal(record_.config.stop_signal).value_or(SIGTERM); }
  void Answer(std::vector<WaitResponder>& waiting) const;
  api::WaitResponse LastExit() const;
  Error NotRunning() const;

  const ContainerStore store_;
  ContainerRecord record_;
  const MachineFiles files_;                                         // kept open: a restart needs them again
  const bool made_for_this_ = record_.status() == Status::kCreated;  // by `run`, not long before
  std::optional<SnapshotContainer> resumed_;
  const bool restored_ = resumed_.has_value();  // a further run boots: the snapshot is of the first one
  const agent::v1::WindowSize window_;
  UniqueFd client_;
  ClientStreams client_streams_;

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<TtrpcServer> server_;
  UniqueFd listener_;
  Watch listener_watch_;
  std::optional<WallClockWatch> wall_clock_watch_;
  std::optional<StopSequence> stop_;
  std::optional<HealthMonitor> health_;
  std::optional<Timer> restart_timer_;
  RestartBackoff backoff_;

  std::unique_ptr<ContainerRun> run_;     // none: between two runs, or after the last
  std::unique_ptr<ContainerRun> ending_;  // the last one, while the kernel takes its machine apart
  uint64_t run_number_ = 0;
  int guard_events_ = 0;
  Worker background_;               // for what nobody waits for, not even a run's end
  std::function<void()> on_owned_;  // until the state file names this process
  bool asked_to_end_ = false;       // by a user: no restart follows
  bool finished_ = false;
  bool client_connected_ = false;
  struct WaitingSignal {
    std::function<void()> send;
    EmptyResponder respond;
  };
  std::vector<WaitingSignal> signals_until_running_;
  std::vector<WaitResponder> until_running_;
  std::optional<api::WaitResponse> first_exit_;
  std::vector<WaitResponder> until_first_exit_;
  std::vector<WaitResponder> until_stopped_;
};

Result<> Supervisor::Run(std::function<void()> on_owned) {
  on_owned_ = std::move(on_owned);
  HMVM_TRY_ASSIGN(loop_, EventLoop::Create());
  server_ = std::make_unique<TtrpcServer>(*loop_);
  RegisterHandlers();
  if (client_.valid()) {
    HMVM_TRY(server_->Serve(std::move(client_), [this] {
      client_connected_ = false;
      StopIfDone();
    }));
    client_connected_ = true;
  }
  auto started = [&]() -> Result<> {
    HMVM_TRY(Prepare());
    return StartRun();
  }();
  if (!started.has_value()) Settle(RunEnd::Of(started.error()));
  HMVM_TRY(loop_->Run());
  return {};
}

Result<> Supervisor::Prepare() {
  record_.owner = *IdentifyProcess(::getpid());
  restart_timer_.emplace(*loop_);
  // What can't be delivered has nobody left to be delivered to: an end follows.
  stop_.emplace(*loop_,
                StopSequence::Actions{
                    .signal_first = [this](int signal) { run_->Signal("", signal, false, [](Result<>) {}); },
                    .kill_all = [this] { run_->Signal("", SIGKILL, true, [](Result<>) {}); },
                    .end_machine = [this] { run_->EndMachine(); }});
  health_.emplace(
      *loop_, record_.config.health_check,
      HealthMonitor::Actions{.probe = [this](HealthMonitor::Done done) { ProbeHealth(std::move(done)); },
                             .on_result = [this](ProbeResult result) { OnProbeResult(std::move(result)); }});
  HMVM_TRY(Listen());
  // Somebody set the host's clock: the guest's follows, if it moves.
  HMVM_TRY_ASSIGN(wall_clock_watch_, WallClockWatch::Create(*loop_, [this] {
                    if (run_ != nullptr && record_.status() == Status::kRunning) run_->SetClock();
                  }));
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
  handle("Pause", &Supervisor::HandlePause);
  handle("Resume", &Supervisor::HandleResume);
  handle("Snapshot", &Supervisor::HandleSnapshot);
  handle("Stats", &Supervisor::HandleStats);
  handle("ListProcesses", &Supervisor::HandleListProcesses);
  handle("Counters", &Supervisor::HandleCounters);
}

// --- From start to end, and again.

Result<> Supervisor::StartRun() {
  ++run_number_;
  HMVM_TRY_ASSIGN(
      run_, ContainerRun::Start(
                *loop_, files_,
                {.id = record_.id,
                 .config = record_.config,
                 .run_folder = store_.RunFolder(record_.id),
                 .log_path = store_.LogPath(record_.id),
                 .window = window_,
                 .client_streams = std::move(client_streams_),
                 .resumed = std::exchange(resumed_, std::nullopt),
                 .boot = restored_ && run_number_ > 1,
                 .guard = {.required = record_.config.require_guard,
                           .on_event = [this](const GuardEvent& event) { OnGuardEvent(event); },
                           .in_background =
                               [this](std::function<void()> task) { background_.Post(std::move(task)); }},
                 .on_running = [this] { OnRunning(); },
                 .on_exit = [this](int exit_status, bool oom_killed) { OnExit(exit_status, oom_killed); },
                 .on_end = [this] { OnRunEnd(); }}));
  // While the guest boots.
  if (const auto vmm = IdentifyProcess(run_->vmm_pid())) record_.vmm = *vmm;
  const bool claimed = record_.status() == Status::kStarting;
  HMVM_TRY(claimed ? store_.Save(record_) : store_.Enter(record_, Status::kStarting));
  if (on_owned_) std::exchange(on_owned_, nullptr)();
  run_->Drive();
  return {};
}

void Supervisor::OnRunning() {
  if (record_.status() != Status::kStarting) return;                          // asked to stop meanwhile
  if (const auto vmm = IdentifyProcess(run_->vmm_pid())) record_.vmm = *vmm;  // may be another by now
  record_.health = {};
  if (!record_.config.health_check.command.empty()) record_.health.status = Health::kStarting;
  if (auto entered = store_.Enter(record_, Status::kRunning); !entered.has_value()) {
    return run_->Fail(entered.error());
  }
  health_->Begin();
  Answer(until_running_);
  for (const auto& waiting : std::exchange(signals_until_running_, {})) waiting.send();
}

// A container that is removed with its end can't be started again, so nobody has to wait for its machine's
// end, which takes the kernel as long as all of a short command.
void Supervisor::OnExit(int exit_status, bool oom_killed) {
  if (!record_.config.auto_remove) return;
  ending_ = std::move(run_);
  Settle({.exit_status = exit_status, .failure = {}, .oom_killed = oom_killed});
}

void Supervisor::OnRunEnd() {
  if (ending_ != nullptr) {
    ending_->Conclude();
    ending_.reset();
    (void)store_.Remove(record_.id);
    return StopIfDone();
  }
  const RunEnd end = run_->Conclude();
  run_.reset();
  Settle(end);
}

// Settles what the container has become, tells whoever waits.
void Supervisor::Settle(const RunEnd& end) {
  run_.reset();
  if (stop_.has_value()) stop_->Cancel();
  if (health_.has_value()) health_->End();
  const bool ran = record_.started_unix_ns != 0;
  const bool stopping = record_.status() == Status::kStopping;
  const bool failed = !end.exit_status.has_value() && !stopping;
  record_.reason = failed ? end.failure : "";
  record_.oom_killed = end.oom_killed;
  if (end.oom_killed) (void)store_.Tell(record_, "oom");  // the state file says so, too
  if (end.exit_status.has_value()) {
    record_.exit_code = *end.exit_status;
  } else if (failed) {
    record_.exit_code = ran ? kKilled : end.failure_code;
  } else if (record_.exit_code == 0) {
    record_.exit_code = kKilled;
  }
  if (failed && ran) KeepLastWords(end);
  if (!first_exit_.has_value()) first_exit_ = LastExit();
  for (const auto& waiting : std::exchange(signals_until_running_, {})) waiting.respond(NotRunning());
  if (Restarts()) {
    AwaitRestart();
  } else {
    Finish(failed ? Status::kFailed : Status::kStopped);
  }
  // Those who wait get their answers only now that the files tell the same.
  for (const auto& respond : std::exchange(until_first_exit_, {})) respond(*first_exit_);
}

// What never came to run is not tried again: who started it is told why, and waits for that.
bool Supervisor::Restarts() const {
  const bool ran = record_.started_unix_ns != 0 || record_.restarts != 0;
  return ran && !asked_to_end_ && record_.status() != Status::kStopping &&
         record_.config.restart_policy.Restarts(record_.exit_code, record_.restarts);
}

void Supervisor::AwaitRestart() {
  const auto ran =
      record_.started_unix_ns == 0 ? std::chrono::nanoseconds(0) : SinceUnix(record_.started_unix_ns);
  ++record_.restarts;
  record_.vmm = {};
  if (!store_.Enter(record_, Status::kRestarting).has_value() ||
      !restart_timer_->Set(backoff_.Next(ran), [this] { OnRestartTime(); }).has_value()) {
    return Finish(Status::kFailed);
  }
  Answer(until_running_);
}

void Supervisor::OnRestartTime() {
  record_.exit_code = 0;
  record_.reason.clear();
  if (auto started = StartRun(); !started.has_value()) return Settle(RunEnd::Of(started.error()));
}

// The end of all.
void Supervisor::Finish(Status end) {
  finished_ = true;
  listener_watch_ = Watch();
  wall_clock_watch_.reset();
  const bool ran = record_.started_unix_ns != 0 || record_.restarts != 0;
  // A state file that can't be written keeps "running", which our end will belie.
  if (ending_ != nullptr) {
    (void)store_.EndAndRemove(record_, end);
  } else {
    (void)store_.End(record_, end);
    // What `run` could not start leaves nothing behind.
    if (record_.config.auto_remove || (made_for_this_ && !ran && end == Status::kFailed)) {
      (void)store_.Remove(record_.id);
    }
  }
  // Those who wait get their answer only now that the files tell the same.
  for (auto* waiting : {&until_running_, &until_stopped_}) Answer(*waiting);
  StopIfDone();
}

// Our client may not have asked yet; it hangs up when it has what it wants.
void Supervisor::StopIfDone() {
  if (finished_ && ending_ == nullptr && !client_connected_) loop_->Stop();
}

void Supervisor::ProbeHealth(HealthMonitor::Done done) {
  ContainerConfig config = record_.config;
  config.args = config.health_check.command;
  config.terminal = false;
  HealthProbe probe = {.container_id = record_.id,
                       .process_id = "health-" + std::to_string(NewStreamId()),
                       .process = MakeAgentProcess(config, {}),
                       .run_folder = store_.RunFolder(record_.id),
                       .timeout = config.health_check.timeout};
  const std::string id = probe.process_id;
  auto begun = run_->Beside(id, [this, probe = std::move(probe), done](AgentClient& agent) {
    loop_->Post([done, result = RunHealthProbe(agent, probe)] { done(result); });
  });
  if (!begun.has_value()) done(std::nullopt);
}

void Supervisor::OnProbeResult(ProbeResult result) {
  const HealthCheck& check = record_.config.health_check;
  const bool in_start_period = SinceUnix(record_.started_unix_ns) < check.start_period;
  const bool changed = record_.health.Add(check, std::move(result), in_start_period);
  // What can't be written now is with the next result.
  (void)store_.Save(record_);
  if (changed)
    (void)store_.Tell(record_, "health_status", {{"health", std::string(HealthName(record_.health.status))}});
}

// A VMM under audit may commit breaches without end; nobody needs more of them than this.
constexpr int kMaxGuardEvents = 1000;

void Supervisor::OnGuardEvent(const GuardEvent& event) {
  if (++guard_events_ > kMaxGuardEvents) return;
  // What can't be written has nobody left to be told to.
  (void)AuditBreach(store_.AuditFolder(), event, {.container = record_.id, .image = record_.config.image});
  (void)store_.Tell(record_, "breach", {{"what", event.Describe()}, {"deed", event.deed}});
}

void Supervisor::KeepLastWords(const RunEnd& end) const {
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/console.log", end.console, 0600);
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/vmm.log", end.vmm_log, 0600);
}

void Supervisor::Answer(std::vector<WaitResponder>& waiting) const {
  for (const auto& respond : std::exchange(waiting, {})) respond(LastExit());
}

// Nothing in it while the first process runs.
api::WaitResponse Supervisor::LastExit() const {
  api::WaitResponse answer;
  if (run_ != nullptr) {
    if (const std::string& why = run_->template_failure(); !why.empty()) {
      answer.add_warnings("the guest was booted, as its template was of no use and has been removed: " + why);
    }
    if (const std::string& why = run_->guard_problem(); !why.empty()) {
      answer.add_warnings("warning: the container runs without the eBPF guard: " + why);
    }
    return answer;
  }
  answer.set_exit_code(record_.exit_code);
  answer.set_failure(record_.reason);
  return answer;
}

Error Supervisor::NotRunning() const {
  if (record_.status() == Status::kPaused || record_.status() == Status::kPausing) {
    return Error{EBUSY,
                 "container '" + record_.name + "' is paused; `hmvm resume " + record_.name + "` first"};
  }
  const bool restarting = record_.status() == Status::kRestarting;
  return Error{EBUSY, "container '" + record_.name + "' is " + (restarting ? "restarting" : "not running")};
}

// --- Calls.

void Supervisor::HandleWait(const api::WaitRequest& request, WaitResponder respond) {
  if (finished_) return respond(LastExit());
  switch (request.until()) {
    case api::WaitRequest::RUNNING:
      if (record_.status() != Status::kStarting && record_.status() != Status::kCreated) {
        return respond(LastExit());
      }
      return until_running_.push_back(std::move(respond));
    case api::WaitRequest::FIRST_EXIT:
      if (first_exit_.has_value()) return respond(*first_exit_);
      return until_first_exit_.push_back(std::move(respond));
    default:
      return until_stopped_.push_back(std::move(respond));
  }
}

void Supervisor::HandleExec(const api::ExecRequest& request,
                            TtrpcServer::Responder<api::ExecResponse> respond) {
  if (run_ == nullptr || record_.status() != Status::kRunning) return respond(NotRunning());
  if (request.exec_id().empty()) return respond(Error{EINVAL, "exec without an id"});
  agent::v1::StartProcessRequest start;
  start.set_container_id(run_->guest_id());
  start.set_process_id(request.exec_id());
  *start.mutable_process() = request.process();
  start.set_stdin_stream(request.stdin_stream());
  start.set_stdout_stream(request.stdout_stream());
  start.set_stderr_stream(request.stderr_stream());
  auto begun = run_->Beside(request.exec_id(), [this, start = std::move(start), respond](AgentClient& agent) {
    auto result = [&]() -> Result<api::ExecResponse> {
      HMVM_TRY(agent.StartProcess(start));
      HMVM_TRY_ASSIGN(const auto ended, agent.WaitProcess(start.container_id(), start.process_id()));
      HMVM_TRY(agent.RemoveProcess(start.container_id(), start.process_id()));
      api::ExecResponse response;
      response.set_exit_status(ended.exit_status());
      return response;
    }();
    loop_->Post([respond, result = std::move(result)] { respond(result); });
  });
  if (!begun.has_value()) respond(begun.error());
}

void Supervisor::HandleSignal(const api::SignalRequest& request, EmptyResponder respond) {
  const int signal = static_cast<int>(request.signal());
  const bool ends = request.exec_id().empty() && (signal == SIGKILL || signal == StopSignal());
  if (record_.status() == Status::kRestarting && ends) {
    Finish(Status::kStopped);
    return respond(api::Empty());
  }
  if (run_ == nullptr) return respond(NotRunning());
  if (record_.status() == Status::kStarting && !run_->start_requested()) {
    record_.exit_code = 128 + signal;
    if (auto stopping = store_.Enter(record_, Status::kStopping); !stopping.has_value()) {
      return respond(stopping.error());
    }
    run_->EndMachine();
    return respond(api::Empty());
  }
  const bool held = record_.status() == Status::kPausing || record_.status() == Status::kPaused;
  if (held && !ends) return respond(NotRunning());
  if (ends) asked_to_end_ = true;
  if (held) LetGo();
  auto send = [this, id = request.exec_id(), signal, respond] {
    run_->Signal(id, signal, false, [respond](Result<> sent) {
      if (!sent.has_value()) return respond(sent.error());
      respond(api::Empty());
    });
  };
  if (record_.status() != Status::kStarting) return send();
  // The process may run by now, and its first words be out: the signal is for it.
  signals_until_running_.push_back({std::move(send), std::move(respond)});
}

void Supervisor::HandleResize(const api::ResizeRequest& request, EmptyResponder respond) {
  if (run_ == nullptr) return respond(NotRunning());
  agent::v1::ResizeTerminalRequest resize;
  resize.set_container_id(run_->guest_id());
  resize.set_process_id(request.exec_id());
  *resize.mutable_window() = request.window();
  run_->Ask<api::Empty>(
      [resize = std::move(resize)](AgentClient& agent, const Machine&) -> Result<api::Empty> {
        HMVM_TRY(agent.ResizeTerminal(resize));
        return api::Empty();
      },
      std::move(respond));
}

void Supervisor::HandleStop(const api::StopRequest& request, WaitResponder respond) {
  if (finished_) return respond(LastExit());
  until_stopped_.push_back(std::move(respond));
  if (record_.status() == Status::kRestarting) return Finish(Status::kStopped);
  asked_to_end_ = true;
  const bool booting = record_.status() == Status::kStarting;
  const bool held = record_.status() == Status::kPausing || record_.status() == Status::kPaused;
  // That it can't be written down is no reason to let it run on.
  if (record_.status() != Status::kStopping) (void)store_.Enter(record_, Status::kStopping);
  if (booting) return run_->EndMachine();
  if (held) LetGo();
  stop_->Begin(StopSignal(), std::chrono::milliseconds(request.timeout_ms()));
}

void Supervisor::HandlePause(const api::Empty&, EmptyResponder respond) {
  Move(Status::kPausing, Status::kPaused, &Machine::Pause, std::move(respond));
}

void Supervisor::HandleResume(const api::Empty&, EmptyResponder respond) {
  Move(Status::kResuming, Status::kRunning, &Machine::Resume, std::move(respond));
}

void Supervisor::Move(Status during, Status after, Result<> (Machine::*call)() const,
                      EmptyResponder respond) {
  const Status before = record_.status();
  if (auto entered = store_.Enter(record_, during); !entered.has_value()) return respond(entered.error());
  health_->End();
  run_->Ask<api::Empty>(
      [call](AgentClient&, const Machine& machine) -> Result<api::Empty> {
        HMVM_TRY((machine.*call)());
        return api::Empty();
      },
      [this, run = run_number_, before, during, after, respond](const Result<api::Empty>& moved) {
        // It ended meanwhile, or was told to.
        if (run != run_number_ || record_.status() != during) return respond(NotRunning());
        const auto entered = store_.Enter(record_, moved.has_value() ? after : before);
        if (record_.status() == Status::kRunning) health_->Begin();
        if (moved.has_value() && !entered.has_value()) return respond(entered.error());
        if (moved.has_value() && after == Status::kRunning) run_->SetClock();  // the host's may have been set
        respond(moved);
      });
}

void Supervisor::LetGo() {
  // Behind a Pause that is under way. Where it fails, the machine's end follows anyway.
  run_->Ask<api::Empty>(
      [](AgentClient&, const Machine& machine) -> Result<api::Empty> {
        HMVM_TRY(machine.Resume());
        return api::Empty();
      },
      [](const Result<api::Empty>&) {});
}

void Supervisor::HandleSnapshot(const api::SnapshotRequest& request,
                                TtrpcServer::Responder<api::SnapshotResponse> respond) {
  if (run_ == nullptr || record_.status() != Status::kRunning) return respond(NotRunning());
  SnapshotContainer container{.origin = record_, .guest_id = {}};
  run_->Ask<api::SnapshotResponse>(
      [run = run_.get(), request, container = std::move(container)](
          AgentClient&, const Machine&) -> Result<api::SnapshotResponse> {
        vmm::v1::SnapshotRequest of_machine;
        of_machine.set_diff_of(request.diff_of());
        of_machine.set_passing(request.passing());
        HMVM_TRY_ASSIGN(const auto taken, run->Snapshot(request.folder(), container, std::move(of_machine)));
        api::SnapshotResponse response;
        response.set_pause_ns(taken.pause_ns());
        response.set_bytes_written(taken.bytes_written());
        return response;
      },
      std::move(respond));
}

void Supervisor::HandleStats(const api::Empty&, TtrpcServer::Responder<api::StatsResponse> respond) {
  if (run_ == nullptr || record_.status() == Status::kStarting) return respond(NotRunning());
  const bool ask_guest = record_.status() == Status::kRunning;
  run_->Ask<api::StatsResponse>(
      [id = record_.id, ask_guest](AgentClient& agent, const Machine& machine) -> Result<api::StatsResponse> {
        api::StatsResponse stats;
        if (ask_guest) {
          HMVM_TRY_ASSIGN(*stats.mutable_guest(), agent.Stats(id));
        }
        HMVM_TRY_ASSIGN(const HostCost cost, MeasureHostCost(machine.pid()));
        stats.set_host_cpu_ns(cost.cpu_ns);
        stats.set_host_memory_bytes(cost.memory_bytes);
        stats.set_monotonic_ns(static_cast<uint64_t>(
            std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count()));
        return stats;
      },
      std::move(respond));
}

void Supervisor::HandleListProcesses(const api::Empty&,
                                     TtrpcServer::Responder<agent::v1::ListProcessesResponse> respond) {
  if (run_ == nullptr || record_.status() != Status::kRunning) return respond(NotRunning());
  run_->Ask<agent::v1::ListProcessesResponse>(
      [id = record_.id](AgentClient& agent, const Machine&) { return agent.ListProcesses(id); },
      std::move(respond));
}

void Supervisor::HandleCounters(const api::Empty&, TtrpcServer::Responder<api::CountersResponse> respond) {
  if (run_ == nullptr || record_.status() == Status::kStarting) return respond(NotRunning());
  run_->Ask<api::CountersResponse>(
      [&times = run_->start_times()](AgentClient&, const Machine& machine) -> Result<api::CountersResponse> {
        HMVM_TRY_ASSIGN(const auto described, machine.Describe());
        api::CountersResponse response;
        *response.mutable_counters() = described.counters();
        const std::pair<const char*, uint64_t> marks[] = {
            {"start.vmm_started_ns", times.vmm_started},
            {"start.vmm_main_ns", described.started_monotonic_ns()},
            {"start.first_instruction_ns", described.running_monotonic_ns()},
            {"start.agent_answered_ns", times.agent_answered},
            {"start.container_made_ns", times.container_made},
            {"start.process_started_ns", times.process_started}};
        for (const auto& [name, value] : marks) {
          auto* const counter = response.add_counters();
          counter->set_name(name);
          counter->set_value(value);
        }
        return response;
      },
      std::move(respond));
}

}  // namespace

void Supervise(SupervisorInput input, const std::function<void()>& on_owned) {
  Supervisor supervisor(std::move(input));
  // Fails only without descriptors or memory for the loop itself. The client sees the connection end, and the
  // state file names a process that is gone.
  (void)supervisor.Run(on_owned);
}

}  // namespace hmvm
