#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/event_loop.h"
#include "base/result.h"
#include "runtime/container/record.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/agent_client.h"
#include "runtime/supervisor/guest_clock.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/stdio_pumps.h"
#include "runtime/supervisor/timer.h"
#include "runtime/supervisor/worker.h"

namespace hmvm {

// How a run ended.
struct RunEnd {
  std::optional<int> exit_status;  // of the first process, which ended by itself
  std::string failure;             // else: a sentence that says why it ended, or could not start
  int failure_code = 0;            // else: docker's 125, 126, 127
  bool oom_killed = false;         // the guest has killed one of the container's processes for lack of memory
  std::string console = {};        // the last words of the guest's kernel and of the VMM
  std::string vmm_log = {};

  // Of one that never began.
  static RunEnd Of(const Error& error) {
    return {.exit_status = {}, .failure = error.Message(), .failure_code = kHmvmFailed};
  }
  static constexpr int kHmvmFailed = 125;
};

// What the first process of a container, or a further one, is to the agent.
agent::v1::Process MakeAgentProcess(const ContainerConfig& config, const agent::v1::WindowSize& window);

// From the boot of a container's machine to its end: the machine, the agent in it, the first process and
// those beside it. A restart is a new run. Belongs to the loop's thread; what blocks has threads of its own.
class ContainerRun {
 public:
  struct Options {
    std::string id;
    ContainerConfig config;
    std::string run_folder;  // for vsock.sock
    std::string log_path;    // output is appended
    agent::v1::WindowSize window;
    ClientStreams client_streams;
    // The machine's snapshot is that of a container, which goes on; none: a template's, or there is none.
    std::optional<SnapshotContainer> resumed;
    bool boot = false;  // even if there is a snapshot
    GuardWishes guard;
    std::function<void()> on_running;  // the first process runs
    // It has ended by itself, and its output is out; the machine is being ended, and on_end follows.
    std::function<void(int exit_status, bool oom_killed)> on_exit;
    std::function<void()> on_end;  // all is over but Conclude(), which is to be called then, not before
  };

  // Returns once the VMM runs; nothing of the container does before Drive(). The callbacks come later, from
  // the loop itself. `files` outlive the run. With a template among them that turns out to be of no use, the
  // machine is booted.
  static Result<std::unique_ptr<ContainerRun>> Start(EventLoop& loop, const MachineFiles& files,
                                                     Options options);
  // Ends the machine if it runs, and waits for all threads.
  ~ContainerRun();
  // Once, when all is written that has to be before the first output.
  void Drive();
  ContainerRun(const ContainerRun&) = delete;
  ContainerRun& operator=(const ContainerRun&) = delete;

  // What the container is called in its guest.
  const std::string& guest_id() const {
    return options_.resumed.has_value() ? options_.resumed->guest_id : options_.id;
  }
  // On the loop, before Snapshot(): see Machine.
  Result<> MakeRoomForSnapshot(const std::string& folder) const {
    return machine_->MakeRoomForSnapshot(folder, options_.config.memory_bytes);
  }
  // Fills in a snapshot's folder what is the run's to know, and writes its files. Blocks; on the thread for
  // questions to the VMM.
  Result<vmm::v1::SnapshotResponse> Snapshot(const std::string& folder, SnapshotContainer container,
                                             vmm::v1::SnapshotRequest request);
  pid_t vmm_pid() const { return machine_->pid(); }
  // Where the time of the start went: CLOCK_MONOTONIC in ns, 0 for what has not happened.
  struct StartTimes {
    std::atomic<uint64_t> vmm_started = 0;
    std::atomic<uint64_t> agent_answered = 0;  // the guest is its own
    std::atomic<uint64_t> container_made = 0;
    std::atomic<uint64_t> process_started = 0;
  };
  const StartTimes& start_times() const { return start_times_; }

  // Why the template could not be used; empty if it could, or if there is none.
  const std::string& template_failure() const { return template_failure_; }
  const std::string& guard_problem() const { return machine_->guard_problem(); }
  // The guest has booted and knows of the first process, which may run by now.
  bool start_requested() const { return start_requested_; }

  // Puts a question to the agent, or to the VMM, each on a thread for such; the questions of one are put in
  // order. The VMM's wait while a snapshot is taken. `done` gets the answer on the loop, also after the run's
  // end.
  template <typename Answer>
  void AskAgent(std::function<Result<Answer>(AgentClient&)> question,
                std::function<void(Result<Answer>)> done) {
    Ask(*of_agent_, *agent_, std::move(question), std::move(done));
  }
  template <typename Answer>
  void AskMachine(std::function<Result<Answer>(const Machine&)> question,
                  std::function<void(Result<Answer>)> done) {
    Ask(*of_machine_, *machine_, std::move(question), std::move(done));
  }
  void Signal(const std::string& process_id, int signal, bool all, std::function<void(Result<>)> done);
  // Brings the guest's wall clock to the host's.
  void SetClock();
  // Calls `use` on a thread of its own; it may block on the agent until the run ends. `id` is that of a
  // further process; EEXIST: it is taken.
  Result<> Beside(const std::string& id, std::function<void(AgentClient&)> use);

  // Ends it because of what the supervisor met.
  void Fail(const Error& error) { OnOutcome(FailedBy(error)); }
  // Ends the machine as if the power were cut, and leaves an attached client that does not read: on_end
  // comes.
  void EndMachine();

  // Once, after on_end: waits for all threads and says how it ended.
  RunEnd Conclude();

 private:
  // `asked` outlives what `worker` has to do.
  template <typename Asked, typename Question, typename Done>
  void Ask(Worker& worker, Asked& asked, Question question, Done done) {
    worker.Post([this, &asked, question = std::move(question), done = std::move(done)] {
      loop_.Post([done, answer = question(asked)] { done(answer); });
    });
  }

  // What the thread of the first process found.
  struct Outcome {
    std::optional<int> exit_status;
    std::string failure;
    int failure_code = 0;
    bool oom_killed = false;
    bool agent_gone = false;      // nobody answers: the machine is ending and will say why
    bool restore_failed = false;  // and nothing of the container has been in the guest
  };

  ContainerRun(EventLoop& loop, const MachineFiles& files, Options options)
      : loop_(loop), files_(files), options_(std::move(options)), power_cut_(loop) {}
  Result<> StartMachine(bool boot);
  void BootInstead();
  Outcome DriveFirstProcess();
  Outcome Resume();
  Outcome AwaitFirstProcess();
  void KeepWorkingSet();
  static Outcome FailedBy(const Error& error);
  void PostOutcome(Outcome outcome);
  void OnOutcome(Outcome outcome);
  void OnMachineEnd();
  void CutPower();
  void Finish();
  void JoinAll();

  EventLoop& loop_;
  const MachineFiles& files_;
  Options options_;
  Timer power_cut_;
  UniqueFd vsock_;
  StartTimes start_times_;
  bool restored_ = false;  // the machine was started from a snapshot
  std::string template_failure_;

  std::unique_ptr<Machine> machine_;
  LiftedCpuQuota lifted_quota_;
  bool machine_ended_by_us_ = false;
  bool asked_to_end_ = false;  // by the supervisor
  std::unique_ptr<AgentClient> agent_;
  const AdjustGuestClock adjust_clock_ = [this](int64_t step_ns) { return agent_->AdjustClock(step_ns); };
  std::unique_ptr<StdioPumps> pumps_;
  std::atomic<bool> start_requested_ = false;
  std::optional<Outcome> outcome_;
  bool ended_ = false;

  std::thread first_process_;
  std::unique_ptr<Worker> of_agent_;
  std::unique_ptr<Worker> of_machine_;
  std::map<std::string, std::thread> beside_;
  // Tasks that the threads left on the loop look here whether there is still a run.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace hmvm
