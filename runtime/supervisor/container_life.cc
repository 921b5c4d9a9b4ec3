#include "runtime/supervisor/container_life.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include "base/clock.h"
#include "base/file.h"
#include "runtime/container/process_config.h"

namespace hmvm {
namespace {

constexpr int kKilled = 128 + SIGKILL;

}  // namespace

ContainerLife::ContainerLife(EventLoop& loop, ContainerToRun container)
    : loop_(loop),
      store_(std::move(container.store)),
      record_(std::move(container.record)),
      files_(std::move(container.files)),
      resumed_(std::move(container.resumed)),
      window_(std::move(container.window)),
      client_streams_(std::move(container.client_streams)),
      // What can't be delivered has nobody left to be delivered to: an end follows.
      stop_(loop, {.signal_first = [this](int signal) { run_->Signal("", signal, false, [](Result<>) {}); },
                   .kill_all = [this] { run_->Signal("", SIGKILL, true, [](Result<>) {}); },
                   .end_machine = [this] { run_->EndMachine(); }}),
      health_(loop, store_, record_,
              [this](const std::string& id, std::function<void(AgentClient&, const std::string&)> use) {
                return run_->Beside(id, [use = std::move(use), guest_id = run_->guest_id()](
                                            AgentClient& agent) { use(agent, guest_id); });
              }),
      restart_timer_(loop) {
  record_.owner = *IdentifyProcess(::getpid());
}

void ContainerLife::Start(std::function<void()> on_owned) {
  on_owned_ = std::move(on_owned);
  auto started = [this]() -> Result<> {
    // Somebody set the host's clock: the guest's follows, if it moves.
    HMVM_TRY_ASSIGN(wall_clock_watch_, WallClockWatch::Create(loop_, [this] {
                      if (run_ != nullptr && record_.status() == Status::kRunning) run_->SetClock();
                    }));
    return StartRun();
  }();
  if (!started.has_value()) Fail(started.error());
}

// --- From start to end, and again.

Result<> ContainerLife::StartRun() {
  ++run_number_;
  HMVM_TRY_ASSIGN(
      run_, ContainerRun::Start(
                loop_, files_,
                {.id = record_.id,
                 .config = record_.config,
                 .run_folder = RunFolder(),
                 .log_path = store_.LogPath(record_.id),
                 .window = window_,
                 .client_streams = std::move(client_streams_),
                 .resumed = std::exchange(resumed_, std::nullopt),
                 .boot = restored_ && run_number_ > 1,
                 .guard = {.required = record_.config.require_guard,
                           .on_event = [this](const GuardEvent& event) { breaches_.Add(event); },
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

void ContainerLife::OnRunning() {
  if (record_.status() != Status::kStarting) return;                          // asked to stop meanwhile
  if (const auto vmm = IdentifyProcess(run_->vmm_pid())) record_.vmm = *vmm;  // may be another by now
  health_.Reset();
  if (auto entered = store_.Enter(record_, Status::kRunning); !entered.has_value()) {
    return run_->Fail(entered.error());
  }
  health_.Begin();
  waiting_.AnswerRunning(LastExit());
  for (const auto& waiting : std::exchange(signals_until_running_, {})) waiting.send();
}

// A container that is removed with its end can't be started again, so nobody has to wait for its machine's
// end, which takes the kernel as long as all of a short command.
void ContainerLife::OnExit(int exit_status, bool oom_killed) {
  if (!record_.config.auto_remove) return;
  ending_ = std::move(run_);
  Settle({.exit_status = exit_status, .failure = {}, .oom_killed = oom_killed});
}

void ContainerLife::OnRunEnd() {
  if (ending_ != nullptr) {
    ending_->Conclude();
    ending_.reset();
    (void)store_.Remove(record_.id);
    return TellIfOver();
  }
  const RunEnd end = run_->Conclude();
  run_.reset();
  Settle(end);
}

// Settles what the container has become, tells whoever waits.
void ContainerLife::Settle(const RunEnd& end) {
  run_.reset();
  stop_.Cancel();
  health_.End();
  const bool failed = !end.exit_status.has_value() && record_.status() != Status::kStopping;
  record_.reason = failed ? end.failure : "";
  record_.oom_killed = end.oom_killed;
  if (end.oom_killed) (void)store_.Tell(record_, "oom");  // the state file says so, too
  SetExitCode(end, failed);
  if (failed && Ran()) KeepLastWords(end);
  waiting_.NoteExit(LastExit());
  for (const auto& waiting : std::exchange(signals_until_running_, {})) waiting.done(NotRunning());
  if (Restarts()) {
    AwaitRestart();
  } else {
    Finish(failed ? Status::kFailed : Status::kStopped);
  }
  // Those who wait get their answers only now that the files tell the same.
  waiting_.AnswerFirstExit();
}

void ContainerLife::SetExitCode(const RunEnd& end, bool failed) {
  if (end.exit_status.has_value()) {
    record_.exit_code = *end.exit_status;
  } else if (failed) {
    record_.exit_code = Ran() ? kKilled : end.failure_code;
  } else if (record_.exit_code == 0) {
    record_.exit_code = kKilled;
  }
}

// What never came to run is not tried again: who started it is told why, and waits for that.
bool ContainerLife::Restarts() const {
  return EverRan() && !asked_to_end_ && record_.status() != Status::kStopping &&
         record_.config.restart_policy.Restarts(record_.exit_code, record_.restarts);
}

void ContainerLife::AwaitRestart() {
  const std::chrono::nanoseconds ran(Ran() ? NowUnixNs() - record_.started_unix_ns : 0);
  ++record_.restarts;
  record_.vmm = {};
  if (!store_.Enter(record_, Status::kRestarting).has_value() ||
      !restart_timer_.Set(backoff_.Next(ran), [this] { OnRestartTime(); }).has_value()) {
    return Finish(Status::kFailed);
  }
  waiting_.AnswerRunning(LastExit());
}

void ContainerLife::OnRestartTime() {
  record_.exit_code = 0;
  record_.reason.clear();
  if (auto started = StartRun(); !started.has_value()) return Fail(started.error());
}

// The end of all.
void ContainerLife::Finish(Status end) {
  finished_ = true;
  on_finish_();
  wall_clock_watch_.reset();
  const bool ever_ran = EverRan();
  // A state file that can't be written keeps "running", which our end will belie.
  if (ending_ != nullptr) {
    (void)store_.EndAndRemove(record_, end);
  } else {
    (void)store_.End(record_, end);
    // What `run` could not start leaves nothing behind.
    if (record_.config.auto_remove || (made_for_this_ && !ever_ran && end == Status::kFailed)) {
      (void)store_.Remove(record_.id);
    }
  }
  // Those who wait get their answer only now that the files tell the same.
  waiting_.AnswerRunning(LastExit());
  waiting_.AnswerStopped(LastExit());
  TellIfOver();
}

void ContainerLife::TellIfOver() {
  if (over()) on_over_();
}

void ContainerLife::KeepLastWords(const RunEnd& end) const {
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/console.log", end.console, 0600);
  (void)WriteFileAtomic(store_.Folder(record_.id) + "/vmm.log", end.vmm_log, 0600);
}

// Nothing in it while the first process runs.
Waiting::Answer ContainerLife::LastExit() const {
  Waiting::Answer answer;
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

Error ContainerLife::NotRunning() const {
  if (Held()) {
    return Error{EBUSY,
                 "container '" + record_.name + "' is paused; `hmvm resume " + record_.name + "` first"};
  }
  const bool restarting = record_.status() == Status::kRestarting;
  return Error{EBUSY, "container '" + record_.name + "' is " + (restarting ? "restarting" : "not running")};
}

// --- What is asked of it.

void ContainerLife::Wait(supervisor::v1::WaitRequest::Until until, Waiting::Respond respond) {
  if (finished_) return respond(LastExit());
  switch (until) {
    case supervisor::v1::WaitRequest::RUNNING:
      if (record_.status() != Status::kStarting && record_.status() != Status::kCreated) {
        return respond(LastExit());
      }
      return waiting_.UntilRunning(std::move(respond));
    case supervisor::v1::WaitRequest::FIRST_EXIT:
      return waiting_.UntilFirstExit(std::move(respond));
    default:
      return waiting_.UntilStopped(std::move(respond));
  }
}

void ContainerLife::Signal(const std::string& exec_id, int signal, Done done) {
  const bool ends = exec_id.empty() && (signal == SIGKILL || signal == StopSignal());
  if (record_.status() == Status::kRestarting && ends) {
    Finish(Status::kStopped);
    return done({});
  }
  if (run_ == nullptr) return done(NotRunning());
  if (record_.status() == Status::kStarting && !run_->start_requested()) {
    record_.exit_code = 128 + signal;
    if (auto stopping = store_.Enter(record_, Status::kStopping); !stopping.has_value()) {
      return done(stopping.error());
    }
    run_->EndMachine();
    return done({});
  }
  if (Held() && !ends) return done(NotRunning());
  if (ends) asked_to_end_ = true;
  if (Held()) LetGo();
  auto send = [this, exec_id, signal, done] { run_->Signal(exec_id, signal, false, done); };
  if (record_.status() != Status::kStarting) return send();
  // The process may run by now, and its first words be out: the signal is for it.
  signals_until_running_.push_back({std::move(send), std::move(done)});
}

void ContainerLife::Stop(std::chrono::milliseconds grace, Waiting::Respond respond) {
  if (finished_) return respond(LastExit());
  waiting_.UntilStopped(std::move(respond));
  if (record_.status() == Status::kRestarting) return Finish(Status::kStopped);
  asked_to_end_ = true;
  const bool booting = record_.status() == Status::kStarting;
  const bool held = Held();
  // That it can't be written down is no reason to let it run on.
  if (record_.status() != Status::kStopping) (void)store_.Enter(record_, Status::kStopping);
  if (booting) return run_->EndMachine();
  if (held) LetGo();
  stop_.Begin(StopSignal(), grace);
}

void ContainerLife::Move(Status during, Status after, Result<> (Machine::*call)() const, Done done) {
  const Status before = record_.status();
  if (auto entered = store_.Enter(record_, during); !entered.has_value()) return done(entered.error());
  health_.End();
  run_->AskMachine<void>([call](const Machine& machine) { return (machine.*call)(); },
                         [this, run = run_number_, before, during, after, done](const Result<>& moved) {
                           // It ended meanwhile, or was told to.
                           if (run != run_number_ || record_.status() != during) return done(NotRunning());
                           const auto entered = store_.Enter(record_, moved.has_value() ? after : before);
                           if (record_.status() == Status::kRunning) health_.Begin();
                           if (moved.has_value() && !entered.has_value()) return done(entered.error());
                           // The host's may have been set.
                           if (moved.has_value() && after == Status::kRunning) run_->SetClock();
                           done(moved);
                         });
}

void ContainerLife::LetGo() {
  // Behind a Pause that is under way. Where it fails, the machine's end follows anyway.
  run_->AskMachine<void>([](const Machine& machine) { return machine.Resume(); }, [](const Result<>&) {});
}

int ContainerLife::StopSignal() const { return ParseSignal(record_.config.stop_signal).value_or(SIGTERM); }

}  // namespace hmvm
