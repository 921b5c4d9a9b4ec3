#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "guest/api/agent.pb.h"
#include "runtime/container/record.h"
#include "runtime/container/restart_policy.h"
#include "runtime/container/store.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/breach_log.h"
#include "runtime/supervisor/container_health.h"
#include "runtime/supervisor/container_run.h"
#include "runtime/supervisor/guest_clock.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/stdio_pumps.h"
#include "runtime/supervisor/stop_sequence.h"
#include "runtime/supervisor/timer.h"
#include "runtime/supervisor/waiting.h"
#include "runtime/supervisor/worker.h"

namespace hmvm {

struct ContainerToRun {
  ContainerStore store;
  ContainerRecord record;  // in the store: Created, or Starting when it was claimed
  MachineFiles files;
  std::optional<SnapshotContainer> resumed;  // what the snapshot in `files` is of, for the first run
  agent::v1::WindowSize window;              // of the client's terminal
  ClientStreams client_streams;              // to the first run only: a client does not stay for a restart
};

// A container from its start to its end, restarts included: alone changes its status, makes its runs, and has
// them do what is asked of it. Belongs to the loop's thread.
class ContainerLife {
 public:
  using Done = std::function<void(Result<>)>;

  // For the calling process, which owns the container from now on.
  ContainerLife(EventLoop& loop, ContainerToRun container);

  // Called before its last status is written.
  void OnFinish(std::function<void()> on_finish) { on_finish_ = std::move(on_finish); }
  // Called when it is over().
  void OnOver(std::function<void()> on_over) { on_over_ = std::move(on_over); }
  // Nothing follows: the last status is written, and the machine gone.
  bool over() const { return finished_ && ending_ == nullptr; }

  // Once: one of both. `on_owned` is called when the state file names this process. What can't be started is
  // Failed, as what is given to Fail().
  void Start(std::function<void()> on_owned);
  void Fail(const Error& error) { Settle(RunEnd::Of(error)); }

  const ContainerRecord& record() const { return record_; }
  std::string RunFolder() const { return store_.RunFolder(record_.id); }
  // The run under way, whatever its status; null: between two runs, or after the last.
  ContainerRun* run() const { return run_.get(); }
  // Why it can't be asked what only a running container can.
  Error NotRunning() const;

  // Answers when it has come so far, or can't any more; at once if it has.
  void Wait(supervisor::v1::WaitRequest::Until until, Waiting::Respond respond);
  // `exec_id` is empty for the first process. While the machine boots, any signal ends it.
  void Signal(const std::string& exec_id, int signal, Done done);
  // Answers when it has stopped; no restart follows.
  void Stop(std::chrono::milliseconds grace, Waiting::Respond respond);
  void Pause(Done done) { Move(Status::kPausing, Status::kPaused, &Machine::Pause, std::move(done)); }
  void Resume(Done done) { Move(Status::kResuming, Status::kRunning, &Machine::Resume, std::move(done)); }

 private:
  // From start to end, and again.
  Result<> StartRun();
  void OnRunning();
  void OnExit(int exit_status, bool oom_killed);
  void OnRunEnd();
  void Settle(const RunEnd& end);
  void SetExitCode(const RunEnd& end, bool failed);
  bool Ran() const { return record_.started_unix_ns != 0; }  // in this run
  bool EverRan() const { return Ran() || record_.restarts != 0; }
  bool Restarts() const;
  void AwaitRestart();
  void OnRestartTime();
  void Finish(Status end);
  void TellIfOver();
  void KeepLastWords(const RunEnd& end) const;
  Waiting::Answer LastExit() const;

  // What is asked of it.
  bool Held() const { return record_.status() == Status::kPausing || record_.status() == Status::kPaused; }
  // Pauses or resumes: through `during` to `after`, or back to what it was.
  void Move(Status during, Status after, Result<> (Machine::*call)() const, Done done);
  // What is paused, or about to be, goes on so that it can end.
  void LetGo();
  int StopSignal() const;

  EventLoop& loop_;
  const ContainerStore store_;
  ContainerRecord record_;
  const MachineFiles files_;                                         // kept open: a restart needs them again
  const bool made_for_this_ = record_.status() == Status::kCreated;  // by `run`, not long before
  std::optional<SnapshotContainer> resumed_;
  const bool restored_ = resumed_.has_value();  // a further run boots: the snapshot is of the first one
  const agent::v1::WindowSize window_;
  ClientStreams client_streams_;
  std::function<void()> on_finish_ = [] {};
  std::function<void()> on_over_ = [] {};
  std::function<void()> on_owned_;  // until the state file names this process

  std::optional<WallClockWatch> wall_clock_watch_;
  StopSequence stop_;
  ContainerHealth health_;
  BreachLog breaches_{store_, record_};
  Timer restart_timer_;
  RestartBackoff backoff_;

  std::unique_ptr<ContainerRun> run_;     // none: between two runs, or after the last
  std::unique_ptr<ContainerRun> ending_;  // the last one, while the kernel takes its machine apart
  uint64_t run_number_ = 0;
  Worker background_;          // for what nobody waits for, not even a run's end
  bool asked_to_end_ = false;  // by a user: no restart follows
  bool finished_ = false;
  struct WaitingSignal {
    std::function<void()> send;
    Done done;
  };
  std::vector<WaitingSignal> signals_until_running_;
  Waiting waiting_;
};

}  // namespace hmvm
