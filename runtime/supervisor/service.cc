#include "runtime/supervisor/service.h"

#include <sys/socket.h>

#include <utility>

#include "runtime/supervisor/questions.h"
#include "runtime/supervisor/streams.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr char kService[] = "hmvm.supervisor.v1.Supervisor";

ContainerLife::Done ToEmpty(TtrpcServer::Responder<api::Empty> respond) {
  return [respond = std::move(respond)](const Result<>& done) {
    if (!done.has_value()) return respond(done.error());
    respond(api::Empty());
  };
}

}  // namespace

SupervisorService::SupervisorService(EventLoop& loop, TtrpcServer& server, ContainerLife& life)
    : loop_(loop), server_(server), life_(life) {
  HandleLife();
  HandleQuestions();
}

Result<> SupervisorService::ServeClient(UniqueFd client, std::function<void()> on_gone) {
  HMVM_TRY(server_.Serve(std::move(client), [this, on_gone = std::move(on_gone)] {
    has_client_ = false;
    on_gone();
  }));
  has_client_ = true;
  return {};
}

Result<> SupervisorService::Listen() {
  HMVM_TRY_ASSIGN(listener_, ListenUnix(life_.RunFolder(), "supervisor.sock"));
  HMVM_TRY_ASSIGN(listener_watch_, loop_.OnReadable(listener_.get(), [this]() -> Result<> {
    UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    // Out of descriptors or the peer gave up: its loss, not ours.
    if (peer.valid()) (void)server_.Serve(std::move(peer));
    return {};
  }));
  return {};
}

void SupervisorService::HandleLife() {
  server_.Handle<api::WaitRequest, api::WaitResponse>(
      kService, "Wait",
      [this](const auto& request, auto respond) { life_.Wait(request.until(), std::move(respond)); });
  server_.Handle<api::SignalRequest, api::Empty>(
      kService, "Signal", [this](const auto& request, auto respond) {
        life_.Signal(request.exec_id(), static_cast<int>(request.signal()), ToEmpty(std::move(respond)));
      });
  server_.Handle<api::StopRequest, api::WaitResponse>(
      kService, "Stop", [this](const auto& request, auto respond) {
        life_.Stop(std::chrono::milliseconds(request.timeout_ms()), std::move(respond));
      });
  server_.Handle<api::Empty, api::Empty>(
      kService, "Pause", [this](const auto&, auto respond) { life_.Pause(ToEmpty(std::move(respond))); });
  server_.Handle<api::Empty, api::Empty>(
      kService, "Resume", [this](const auto&, auto respond) { life_.Resume(ToEmpty(std::move(respond))); });
}

void SupervisorService::HandleQuestions() {
  Handle<api::ExecRequest, api::ExecResponse>("Exec", Needs::kRunning,
                                              [this](ContainerRun& run, const auto& request, auto respond) {
                                                if (request.exec_id().empty())
                                                  return respond(Error{EINVAL, "exec without an id"});
                                                AnswerExec(loop_, run, request, std::move(respond));
                                              });
  Handle<api::ResizeRequest, api::Empty>("Resize", Needs::kRun, AnswerResize);
  Handle<api::SnapshotRequest, api::SnapshotResponse>(
      "Snapshot", Needs::kRunning, [this](ContainerRun& run, const auto& request, auto respond) {
        AnswerSnapshot(run, life_.record(), request, std::move(respond));
      });
  Handle<api::Empty, api::StatsResponse>("Stats", Needs::kStarted,
                                         [this](ContainerRun& run, const auto&, auto respond) {
                                           AnswerStats(run, life_.record(), std::move(respond));
                                         });
  Handle<api::Empty, agent::v1::ListProcessesResponse>(
      "ListProcesses", Needs::kRunning,
      [](ContainerRun& run, const auto&, auto respond) { AnswerListProcesses(run, std::move(respond)); });
  Handle<api::Empty, api::CountersResponse>(
      "Counters", Needs::kStarted,
      [](ContainerRun& run, const auto&, auto respond) { AnswerCounters(run, std::move(respond)); });
}

template <typename Request, typename Response>
void SupervisorService::Handle(
    const char* method, Needs needs,
    std::function<void(ContainerRun& run, const Request& request, TtrpcServer::Responder<Response> respond)>
        answer) {
  server_.Handle<Request, Response>(kService, method,
                                    [this, needs, answer = std::move(answer)](
                                        const Request& request, TtrpcServer::Responder<Response> respond) {
                                      if (!Has(needs)) return respond(life_.NotRunning());
                                      answer(*life_.run(), request, std::move(respond));
                                    });
}

bool SupervisorService::Has(Needs needs) const {
  if (life_.run() == nullptr) return false;
  const Status status = life_.record().status();
  switch (needs) {
    case Needs::kRun:
      return true;
    case Needs::kStarted:
      return status != Status::kStarting;
    case Needs::kRunning:
      return status == Status::kRunning;
  }
  return false;
}

}  // namespace hmvm
