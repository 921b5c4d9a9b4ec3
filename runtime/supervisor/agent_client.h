#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/ttrpc/client.h"
#include "base/unique_fd.h"
#include "guest/api/agent.pb.h"

namespace hmvm {

// guest/api/agent.proto as blocking calls. Thread-safe.
class AgentClient {
 public:
  explicit AgentClient(UniqueFd socket) : ttrpc_(TtrpcClient::Create(std::move(socket))) {}

  // Answers once the guest has booted.
  Result<> Personalise(const agent::v1::PersonaliseRequest& request, TtrpcClient::Timeout timeout) {
    return Ignore(Call<agent::v1::Empty>("Personalise", request, timeout));
  }
  Result<> CreateContainer(const agent::v1::CreateContainerRequest& request) {
    return Ignore(Call<agent::v1::CreateContainerResponse>("CreateContainer", request));
  }
  Result<> StartProcess(const agent::v1::StartProcessRequest& request) {
    return Ignore(Call<agent::v1::StartProcessResponse>("StartProcess", request));
  }
  Result<agent::v1::WaitProcessResponse> WaitProcess(const std::string& container_id,
                                                     const std::string& process_id) {
    return Call<agent::v1::WaitProcessResponse>("WaitProcess", Request(container_id, process_id));
  }
  Result<> RemoveProcess(const std::string& container_id, const std::string& process_id) {
    return Ignore(Call<agent::v1::Empty>("RemoveProcess", Request(container_id, process_id)));
  }
  // From here on they have a limit of time: they go to a guest that runs, or hangs.
  Result<agent::v1::AdjustClockResponse> AdjustClock(int64_t step_ns) {
    agent::v1::AdjustClockRequest request;
    request.set_step_ns(step_ns);
    return Call<agent::v1::AdjustClockResponse>("AdjustClock", request, kPromptly);
  }
  Result<> Freeze() { return Ignore(Call<agent::v1::Empty>("Freeze", agent::v1::Empty(), kPromptly)); }
  Result<> Thaw() { return Ignore(Call<agent::v1::Empty>("Thaw", agent::v1::Empty(), kPromptly)); }
  Result<> SignalProcess(const agent::v1::SignalProcessRequest& request) {
    return Ignore(Call<agent::v1::Empty>("SignalProcess", request, kPromptly));
  }
  Result<> ResizeTerminal(const agent::v1::ResizeTerminalRequest& request) {
    return Ignore(Call<agent::v1::Empty>("ResizeTerminal", request, kPromptly));
  }

  Result<agent::v1::StatsResponse> Stats(const std::string& container_id) {
    return Call<agent::v1::StatsResponse>("Stats", OfContainer(container_id), kPromptly);
  }
  Result<agent::v1::ListProcessesResponse> ListProcesses(const std::string& container_id) {
    return Call<agent::v1::ListProcessesResponse>("ListProcesses", OfContainer(container_id), kPromptly);
  }

  // Ends all calls, now and later, with ECONNRESET.
  void Close() { ttrpc_->Close(); }

 private:
  static constexpr std::chrono::seconds kPromptly{10};

  template <typename Response, typename Request>
  Result<Response> Call(const char* method, const Request& request,
                        TtrpcClient::Timeout timeout = std::nullopt) {
    return ttrpc_->Call<Response>("hmvm.agent.v1.Agent", method, request, timeout);
  }
  template <typename Response>
  static Result<> Ignore(Result<Response> response) {
    if (!response.has_value()) return std::move(response).error();
    return {};
  }
  static agent::v1::ContainerRequest OfContainer(const std::string& container_id) {
    agent::v1::ContainerRequest request;
    request.set_container_id(container_id);
    return request;
  }
  static agent::v1::ProcessRequest Request(const std::string& container_id, const std::string& process_id) {
    agent::v1::ProcessRequest request;
    request.set_container_id(container_id);
    request.set_process_id(process_id);
    return request;
  }

  std::unique_ptr<TtrpcClient> ttrpc_;
};

}  // namespace hmvm
