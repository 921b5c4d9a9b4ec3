#pragma once

#include <functional>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/ttrpc/server.h"
#include "base/unique_fd.h"
#include "runtime/api/supervisor.pb.h"
#include "runtime/supervisor/container_life.h"

namespace hmvm {

// runtime/api/supervisor.proto for one container: takes the calls, refuses those that its status does not
// allow, and hands on the others. Belongs to the loop's thread; what it is made with outlives it.
class SupervisorService {
 public:
  SupervisorService(EventLoop& loop, TtrpcServer& server, ContainerLife& life);

  // Serves the command that waits on its socket, until it hangs up.
  Result<> ServeClient(UniqueFd client, std::function<void()> on_gone);
  bool has_client() const { return has_client_; }
  // Serves other commands, on supervisor.sock in the container's run folder.
  Result<> Listen();
  // No new connections.
  void StopListening() { listener_watch_ = Watch(); }

 private:
  void HandleLife();
  void HandleQuestions();
  enum class Needs {
    kRun,
    kStarted,
    kRunning
  };  // a machine; one that is up, maybe held; a running container
  template <typename Request, typename Response>
  void Handle(
      const char* method, Needs needs,
      std::function<void(ContainerRun& run, const Request& request, TtrpcServer::Responder<Response> respond)>
          answer);
  bool Has(Needs needs) const;

  EventLoop& loop_;
  TtrpcServer& server_;
  ContainerLife& life_;
  UniqueFd listener_;
  Watch listener_watch_;
  bool has_client_ = false;
};

}  // namespace hmvm
