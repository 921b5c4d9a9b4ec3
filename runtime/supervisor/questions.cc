#include "runtime/supervisor/questions.h"

#include <utility>

#include "base/clock.h"
#include "runtime/supervisor/host_cost.h"

namespace hmvm {

namespace api = supervisor::v1;

void AnswerExec(EventLoop& loop, ContainerRun& run, const api::ExecRequest& request,
                TtrpcServer::Responder<api::ExecResponse> respond) {
  agent::v1::StartProcessRequest start;
  start.set_container_id(run.guest_id());
  start.set_process_id(request.exec_id());
  *start.mutable_process() = request.process();
  start.set_stdin_stream(request.stdin_stream());
  start.set_stdout_stream(request.stdout_stream());
  start.set_stderr_stream(request.stderr_stream());
  auto begun = run.Beside(request.exec_id(), [&loop, start = std::move(start), respond](AgentClient& agent) {
    auto result = [&]() -> Result<api::ExecResponse> {
      HMVM_TRY(agent.StartProcess(start));
      HMVM_TRY_ASSIGN(const auto ended, agent.WaitProcess(start.container_id(), start.process_id()));
      HMVM_TRY(agent.RemoveProcess(start.container_id(), start.process_id()));
      api::ExecResponse response;
      response.set_exit_status(ended.exit_status());
      return response;
    }();
    loop.Post([respond, result = std::move(result)] { respond(result); });
  });
  if (!begun.has_value()) respond(begun.error());
}

void AnswerResize(ContainerRun& run, const api::ResizeRequest& request,
                  TtrpcServer::Responder<api::Empty> respond) {
  agent::v1::ResizeTerminalRequest resize;
  resize.set_container_id(run.guest_id());
  resize.set_process_id(request.exec_id());
  *resize.mutable_window() = request.window();
  run.AskAgent<api::Empty>(
      [resize = std::move(resize)](AgentClient& agent) -> Result<api::Empty> {
        HMVM_TRY(agent.ResizeTerminal(resize));
        return api::Empty();
      },
      std::move(respond));
}

void AnswerSnapshot(ContainerRun& run, const ContainerRecord& record, const api::SnapshotRequest& request,
                    TtrpcServer::Responder<api::SnapshotResponse> respond) {
  if (auto room = run.MakeRoomForSnapshot(request.folder()); !room.has_value()) return respond(room.error());
  SnapshotContainer container{.origin = record, .guest_id = {}};
  run.AskMachine<api::SnapshotResponse>(
      [&run, request, container = std::move(container)](const Machine&) -> Result<api::SnapshotResponse> {
        vmm::v1::SnapshotRequest of_machine;
        of_machine.set_diff_of(request.diff_of());
        of_machine.set_passing(request.passing());
        const auto taken = run.Snapshot(request.folder(), container, std::move(of_machine));
        if (!taken.has_value() && taken.error().code == ECONNRESET)
          return Error{0, "the container ended meanwhile"};
        if (!taken.has_value()) return taken.error();
        api::SnapshotResponse response;
        response.set_pause_ns(taken->pause_ns());
        response.set_bytes_written(taken->bytes_written());
        return response;
      },
      std::move(respond));
}

void AnswerStats(ContainerRun& run, const ContainerRecord& record,
                 TtrpcServer::Responder<api::StatsResponse> respond) {
  const bool ask_guest = record.status() == Status::kRunning;
  run.AskAgent<api::StatsResponse>(
      [id = run.guest_id(), vmm = run.vmm_pid(),
       ask_guest](AgentClient& agent) -> Result<api::StatsResponse> {
        api::StatsResponse stats;
        if (ask_guest) {
          HMVM_TRY_ASSIGN(*stats.mutable_guest(), agent.Stats(id));
        }
        HMVM_TRY_ASSIGN(const HostCost cost, MeasureHostCost(vmm));
        stats.set_host_cpu_ns(cost.cpu_ns);
        stats.set_host_memory_bytes(cost.memory_bytes);
        stats.set_monotonic_ns(NowMonotonicNs());
        return stats;
      },
      std::move(respond));
}

void AnswerListProcesses(ContainerRun& run,
                         TtrpcServer::Responder<agent::v1::ListProcessesResponse> respond) {
  run.AskAgent<agent::v1::ListProcessesResponse>(
      [id = run.guest_id()](AgentClient& agent) { return agent.ListProcesses(id); }, std::move(respond));
}

void AnswerCounters(ContainerRun& run, TtrpcServer::Responder<api::CountersResponse> respond) {
  run.AskMachine<api::CountersResponse>(
      [&times = run.start_times()](const Machine& machine) -> Result<api::CountersResponse> {
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

}  // namespace hmvm
