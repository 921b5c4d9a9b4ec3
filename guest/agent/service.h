#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/ttrpc/server.h"
#include "guest/agent/added_memory.h"
#include "guest/agent/container.h"
#include "guest/agent/guest_devices.h"
#include "guest/agent/streams.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// guest/api/agent.proto, method by method, over the containers of this guest.
class AgentService {
 public:
  // `power_off` is called once somebody asks for it, after the answer.
  AgentService(EventLoop& loop, StreamRegistry& streams, std::function<void()> power_off)
      : loop_(loop), streams_(streams), power_off_(std::move(power_off)), added_memory_(loop) {}

  void Register(TtrpcServer& server);
  // Makes what each container needs before anybody asks for one, so that a guest that goes on from a template
  // has it.
  Result<> MakeReady() { return cgroups_.MakeAhead(UsualDevices()); }

  // Reaps all children that have ended, orphans included: for SIGCHLD.
  void ReapChildren();
  // Unmounts all containers. Precondition: no process but the agent is left.
  void RemoveContainers() { containers_.clear(); }

 private:
  template <typename Response>
  using Respond = TtrpcServer::Responder<Response>;

  Result<v1::DescribeResponse> Describe() const;
  void Personalise(const v1::PersonaliseRequest& request, Respond<v1::Empty> respond);
  Result<> TakeIdentity(const v1::PersonaliseRequest& request);
  Result<v1::Empty> Freeze();
  Result<v1::Empty> Thaw();
  Result<v1::CreateContainerResponse> CreateContainer(const v1::CreateContainerRequest& request);
  void StartProcess(const v1::StartProcessRequest& request, Respond<v1::StartProcessResponse> respond);
  void WaitProcess(const v1::ProcessRequest& request, Respond<v1::WaitProcessResponse> respond);
  Result<v1::Empty> RemoveProcess(const v1::ProcessRequest& request);
  Result<v1::Empty> SignalProcess(const v1::SignalProcessRequest& request);
  Result<v1::StatsResponse> Stats(const v1::ContainerRequest& request);
  Result<v1::ListProcessesResponse> ListProcesses(const v1::ContainerRequest& request);
  Result<v1::Empty> ResizeTerminal(const v1::ResizeTerminalRequest& request);

  Result<Container*> Find(const std::string& container_id);
  Result<ContainerProcess*> Find(const std::string& container_id, const std::string& process_id);

  EventLoop& loop_;
  StreamRegistry& streams_;
  std::function<void()> power_off_;
  AddedMemory added_memory_;
  CgroupMaker cgroups_;
  std::string machine_id_;  // empty before the first Personalise
  std::map<std::string, std::unique_ptr<Container>> containers_;
};

}  // namespace hmvm::agent
