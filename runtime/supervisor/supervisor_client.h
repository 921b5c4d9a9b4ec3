#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/ttrpc/client.h"
#include "base/unique_fd.h"
#include "runtime/api/supervisor.pb.h"
#include "runtime/container/record.h"
#include "runtime/container/store.h"

namespace hmvm {

// runtime/api/supervisor.proto as blocking calls. Thread-safe. ECONNRESET: the supervisor is gone.
class SupervisorClient {
 public:
  explicit SupervisorClient(UniqueFd socket) : ttrpc_(TtrpcClient::Create(std::move(socket))) {}
  static Result<SupervisorClient> Connect(const ContainerStore& store, const std::string& id);

  Result<supervisor::v1::WaitResponse> Wait(supervisor::v1::WaitRequest::Until until,
                                            TtrpcClient::Timeout limit = std::nullopt);
  Result<supervisor::v1::ExecResponse> Exec(const supervisor::v1::ExecRequest& request);
  // `exec_id` is empty for the first process.
  Result<> Signal(const std::string& exec_id, int signal, TtrpcClient::Timeout limit = std::nullopt);
  Result<> Resize(const std::string& exec_id, const agent::v1::WindowSize& window);
  Result<supervisor::v1::WaitResponse> Stop(uint64_t timeout_ms, TtrpcClient::Timeout limit = std::nullopt);
  Result<> Pause();
  Result<> Resume();
  Result<supervisor::v1::SnapshotResponse> Snapshot(const supervisor::v1::SnapshotRequest& request);
  Result<supervisor::v1::StatsResponse> Stats();
  Result<agent::v1::ListProcessesResponse> ListProcesses();
  Result<supervisor::v1::CountersResponse> Counters();

  // Ends all calls, now and later, with ECONNRESET.
  void Close() { ttrpc_->Close(); }

 private:
  template <typename Response, typename Request>
  Result<Response> Call(const char* method, const Request& request,
                        TtrpcClient::Timeout limit = std::nullopt) {
    return ttrpc_->Call<Response>("hmvm.supervisor.v1.Supervisor", method, request, limit);
  }

  std::unique_ptr<TtrpcClient> ttrpc_;
};

}  // namespace hmvm
