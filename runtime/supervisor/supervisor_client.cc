#include "runtime/supervisor/supervisor_client.h"

#include "runtime/supervisor/streams.h"

namespace hmvm {

namespace api = supervisor::v1;

Result<SupervisorClient> SupervisorClient::Connect(const ContainerStore& store, const std::string& id) {
  HMVM_TRY_ASSIGN(UniqueFd socket, ConnectUnix(store.RunFolder(id), "supervisor.sock"));
  return SupervisorClient(std::move(socket));
}

Result<api::WaitResponse> SupervisorClient::Wait(api::WaitRequest::Until until, TtrpcClient::Timeout limit) {
  api::WaitRequest request;
  request.set_until(until);
  return Call<api::WaitResponse>("Wait", request, limit);
}

Result<api::ExecResponse> SupervisorClient::Exec(const api::ExecRequest& request) {
  return Call<api::ExecResponse>("Exec", request);
}

Result<> SupervisorClient::Signal(const std::string& exec_id, int signal, TtrpcClient::Timeout limit) {
  api::SignalRequest request;
  request.set_exec_id(exec_id);
  request.set_signal(static_cast<uint32_t>(signal));
  HMVM_TRY(Call<api::Empty>("Signal", request, limit));
  return {};
}

Result<> SupervisorClient::Resize(const std::string& exec_id, const agent::v1::WindowSize& window) {
  api::ResizeRequest request;
  request.set_exec_id(exec_id);
  *request.mutable_window() = window;
  HMVM_TRY(Call<api::Empty>("Resize", request));
  return {};
}

Result<api::WaitResponse> SupervisorClient::Stop(uint64_t timeout_ms, TtrpcClient::Timeout limit) {
  api::StopRequest request;
  request.set_timeout_ms(timeout_ms);
  return Call<api::WaitResponse>("Stop", request, limit);
}

Result<> SupervisorClient::Pause() {
  HMVM_TRY(Call<api::Empty>("Pause", api::Empty()));
  return {};
}

Result<> SupervisorClient::Resume() {
  HMVM_TRY(Call<api::Empty>("Resume", api::Empty()));
  return {};
}

Result<api::SnapshotResponse> SupervisorClient::Snapshot(const api::SnapshotRequest& request) {
  return Call<api::SnapshotResponse>("Snapshot", request);
}

Result<api::StatsResponse> SupervisorClient::Stats() {
  return Call<api::StatsResponse>("Stats", api::Empty());
}

Result<agent::v1::ListProcessesResponse> SupervisorClient::ListProcesses() {
  return Call<agent::v1::ListProcessesResponse>("ListProcesses", api::Empty());
}

Result<api::CountersResponse> SupervisorClient::Counters() {
  return Call<api::CountersResponse>("Counters", api::Empty());
}

}  // namespace hmvm
