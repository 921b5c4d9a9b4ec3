#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "guest/agent/cgroup.h"
#include "guest/agent/container_process.h"
#include "guest/agent/identity.h"
#include "guest/agent/namespaces.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// A container: its root, its namespaces, its cgroup, its processes. Destroying it unmounts its root; no
// process of it may run then. Lives on the loop's thread.
class Container {
 public:
  // EINVAL: an id that is no file name; EBUSY: a device or mount can't be had. Blocks while it mounts.
  static Result<std::unique_ptr<Container>> Create(EventLoop& loop, StreamRegistry& streams,
                                                   const std::string& machine_id,
                                                   const v1::CreateContainerRequest& request,
                                                   CgroupMaker& cgroups);
  ~Container();

  // Starts the first process (process_id empty) or a further one; `started` as of ContainerProcess::Start().
  // EEXIST: the process id is taken. EBUSY: further processes need a first one that runs.
  Result<> Start(const v1::StartProcessRequest& request, ContainerProcess::Started started);

  // ENOENT: there is no such process.
  Result<ContainerProcess*> Find(const std::string& process_id);
  // EBUSY: it runs, or it is the first process.
  Result<> Forget(const std::string& process_id);
  // A signal to every process. ESRCH: the container is not running.
  Result<> SignalAll(int signal);

  v1::StatsResponse Stats() const;
  Result<v1::ListProcessesResponse> List() const;

  // Holds processes and streams; EBUSY: a process can't be held, then all go on. Blocks for that long.
  Result<> Freeze();
  Result<> Thaw();
  // Frozen since a snapshot that this guest is a restore of: takes the new names, forgets the old host.
  Result<> Adopt(const Identity& identity);

  // True if `pid` was one of this container's processes, which has been told then.
  bool OnReaped(pid_t pid, int wait_status);

 private:
  Container(EventLoop& loop, StreamRegistry& streams) : loop_(loop), streams_(streams) {}
  bool running() const;

  EventLoop& loop_;
  StreamRegistry& streams_;
  std::string directory_;
  Identity identity_;
  bool open_system_paths_ = false;
  bool layers_mounted_ = false;
  bool has_cgroup_ = false;
  Cgroup cgroup_;
  Namespaces namespaces_;
  std::map<std::string, std::unique_ptr<ContainerProcess>> processes_;  // "" is the first one
};

}  // namespace hmvm::agent
