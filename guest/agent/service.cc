#include "guest/agent/service.h"

#include <signal.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/file.h"
#include "guest/agent/clock.h"
#include "guest/agent/entropy.h"
#include "guest/agent/kmsg.h"
#include "guest/agent/system.h"

namespace hmvm::agent {
namespace {

constexpr char kService[] = "hmvm.agent.v1.Agent";

}  // namespace

void AgentService::Register(TtrpcServer& server) {
  const uint64_t ready_ns = NowMonotonicNs();
  server.Handle<v1::DescribeRequest, v1::DescribeResponse>(kService, "Describe",
                                                           [this, ready_ns](const auto&, auto respond) {
                                                             auto response = Describe();
                                                             if (response.has_value())
                                                               response->set_ready_monotonic_ns(ready_ns);
                                                             respond(std::move(response));
                                                           });
  server.Handle<v1::PersonaliseRequest, v1::Empty>(
      kService, "Personalise",
      [this](const auto& request, auto respond) { Personalise(request, std::move(respond)); });
  server.Handle<v1::Empty, v1::Empty>(kService, "Freeze",
                                      [this](const auto&, auto respond) { respond(Freeze()); });
  server.Handle<v1::Empty, v1::Empty>(kService, "Thaw",
                                      [this](const auto&, auto respond) { respond(Thaw()); });
  server.Handle<v1::CreateContainerRequest, v1::CreateContainerResponse>(
      kService, "CreateContainer",
      [this](const auto& request, auto respond) { respond(CreateContainer(request)); });
  server.Handle<v1::StartProcessRequest, v1::StartProcessResponse>(
      kService, "StartProcess",
      [this](const auto& request, auto respond) { StartProcess(request, std::move(respond)); });
  server.Handle<v1::ProcessRequest, v1::WaitProcessResponse>(
      kService, "WaitProcess",
      [this](const auto& request, auto respond) { WaitProcess(request, std::move(respond)); });
  server.Handle<v1::ProcessRequest, v1::Empty>(
      kService, "RemoveProcess",
      [this](const auto& request, auto respond) { respond(RemoveProcess(request)); });
  server.Handle<v1::SignalProcessRequest, v1::Empty>(
      kService, "SignalProcess",
      [this](const auto& request, auto respond) { respond(SignalProcess(request)); });
  server.Handle<v1::ResizeTerminalRequest, v1::Empty>(
      kService, "ResizeTerminal",
      [this](const auto& request, auto respond) { respond(ResizeTerminal(request)); });
  server.Handle<v1::ContainerRequest, v1::StatsResponse>(
      kService, "Stats", [this](const auto& request, auto respond) { respond(Stats(request)); });
  server.Handle<v1::ContainerRequest, v1::ListProcessesResponse>(
      kService, "ListProcesses",
      [this](const auto& request, auto respond) { respond(ListProcesses(request)); });
  server.Handle<v1::AdjustClockRequest, v1::AdjustClockResponse>(
      kService, "AdjustClock",
      [](const auto& request, auto respond) { respond(AdjustClock(request.step_ns())); });
  server.Handle<v1::Empty, v1::Empty>(kService, "PowerOff", [this](const auto&, auto respond) {
    respond(v1::Empty());
    power_off_();
  });
}

Result<v1::DescribeResponse> AgentService::Describe() const {
  v1::DescribeResponse response;
  response.set_agent_version(HMVM_VERSION);
  utsname names = {};
  if (::uname(&names) < 0) return Error{errno, "uname"};
  response.set_kernel_release(names.release);
  response.set_memory_total_bytes(MemoryTotalBytes());
  response.set_cpus(static_cast<uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
  return response;
}

void AgentService::Personalise(const v1::PersonaliseRequest& request, Respond<v1::Empty> respond) {
  if (const auto own = TakeIdentity(request); !own.has_value()) return respond(own.error());
  const auto awaited =
      added_memory_.Await(request.added_memory_bytes(), [this, respond](const Result<>& there) {
        if (!there.has_value()) return respond(there.error());
        respond(Thaw());
      });
  if (!awaited.has_value()) respond(awaited.error());
}

Result<> AgentService::TakeIdentity(const v1::PersonaliseRequest& request) {
  const Identity identity = {.hostname = request.hostname(), .machine_id = request.machine_id()};
  if (!IsMachineId(identity.machine_id)) return Error{EINVAL, "machine id that is no 32 hex digits"};
  HMVM_TRY(AddEntropy(std::as_bytes(std::span(request.entropy()))));
  machine_id_ = identity.machine_id;
  HMVM_TRY(SetHostname(identity.hostname, UniqueFd()));
  HMVM_TRY(BringUpProcessors(request.cpus()));
  if (containers_.empty()) return {};
  streams_.Forget();
  for (const auto& [id, container] : containers_) HMVM_TRY(container->Adopt(identity));
  return {};
}

Result<v1::Empty> AgentService::Freeze() {
  for (auto at = containers_.begin(); at != containers_.end(); ++at) {
    const auto frozen = at->second->Freeze();
    if (frozen.has_value()) continue;
    while (at != containers_.begin()) (void)(--at)->second->Thaw().has_value();
    return frozen.error();
  }
  return v1::Empty();
}

Result<v1::Empty> AgentService::Thaw() {
  for (const auto& [id, container] : containers_) HMVM_TRY(container->Thaw());
  return v1::Empty();
}

Result<v1::CreateContainerResponse> AgentService::CreateContainer(const v1::CreateContainerRequest& request) {
  if (machine_id_.empty()) return Error{EBUSY, "this guest has not been personalised"};
  if (containers_.contains(request.container_id())) {
    return Error{EEXIST, "container '" + Escape(request.container_id()) + "'"};
  }
  HMVM_TRY_ASSIGN(auto container, Container::Create(loop_, streams_, machine_id_, request, cgroups_));
  containers_.emplace(request.container_id(), std::move(container));
  return v1::CreateContainerResponse();
}

void AgentService::StartProcess(const v1::StartProcessRequest& request,
                                Respond<v1::StartProcessResponse> respond) {
  auto container = Find(request.container_id());
  if (!container.has_value()) return respond(container.error());
  const auto forked = (*container)->Start(request, [respond](Result<uint32_t> pid) {
    if (!pid.has_value()) return respond(pid.error());
    v1::StartProcessResponse response;
    response.set_pid(*pid);
    respond(std::move(response));
  });
  if (!forked.has_value()) respond(forked.error());
}

void AgentService::WaitProcess(const v1::ProcessRequest& request, Respond<v1::WaitProcessResponse> respond) {
  auto process = Find(request.container_id(), request.process_id());
  if (!process.has_value()) return respond(process.error());
  (*process)->Wait(std::move(respond));
}

Result<v1::Empty> AgentService::RemoveProcess(const v1::ProcessRequest& request) {
  HMVM_TRY_ASSIGN(Container* const container, Find(request.container_id()));
  HMVM_TRY(container->Forget(request.process_id()));
  return v1::Empty();
}

Result<v1::Empty> AgentService::SignalProcess(const v1::SignalProcessRequest& request) {
  HMVM_TRY_ASSIGN(Container* const container, Find(request.container_id()));
  const int signal = static_cast<int>(request.signal());
  if (request.signal() >= NSIG) return Error{EINVAL, "signal " + std::to_string(request.signal())};
  if (request.all()) {
    HMVM_TRY(container->SignalAll(signal));
  } else {
    HMVM_TRY_ASSIGN(const ContainerProcess* process, container->Find(request.process_id()));
    HMVM_TRY(process->Signal(signal));
  }
  return v1::Empty();
}

Result<v1::Empty> AgentService::ResizeTerminal(const v1::ResizeTerminalRequest& request) {
  HMVM_TRY_ASSIGN(const ContainerProcess* process, Find(request.container_id(), request.process_id()));
  HMVM_TRY(process->Resize(request.window()));
  return v1::Empty();
}

Result<v1::StatsResponse> AgentService::Stats(const v1::ContainerRequest& request) {
  HMVM_TRY_ASSIGN(const Container* container, Find(request.container_id()));
  return container->Stats();
}

Result<v1::ListProcessesResponse> AgentService::ListProcesses(const v1::ContainerRequest& request) {
  HMVM_TRY_ASSIGN(const Container* container, Find(request.container_id()));
  return container->List();
}

Result<Container*> AgentService::Find(const std::string& container_id) {
  const auto found = containers_.find(container_id);
  if (found == containers_.end()) return Error{ENOENT, "container '" + Escape(container_id) + "'"};
  return found->second.get();
}

Result<ContainerProcess*> AgentService::Find(const std::string& container_id, const std::string& process_id) {
  HMVM_TRY_ASSIGN(Container* const container, Find(container_id));
  return container->Find(process_id);
}

void AgentService::ReapChildren() {
  for (;;) {
    int wait_status = 0;
    const pid_t pid = ::waitpid(-1, &wait_status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    for (auto& [id, container] : containers_) {
      if (container->OnReaped(pid, wait_status)) break;
    }
  }
}

}  // namespace hmvm::agent
