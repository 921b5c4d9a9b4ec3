#include "guest/agent/container.h"

#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "base/escape.h"
#include "guest/agent/container_root.h"
#include "guest/agent/guest_devices.h"
#include "guest/agent/process_list.h"
#include "guest/agent/system.h"

namespace hmvm::agent {
namespace {

constexpr char kContainers[] = "/run/hmvm";

bool IsFileName(const std::string& id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !id.empty() && id.size() <= 128 && id[0] != '.' && std::ranges::all_of(id, allowed);
}

Result<> HoldToDevices(Cgroup& cgroup, const v1::CreateContainerRequest& request) {
  if (request.all_devices()) return cgroup.RestrictDevices(std::nullopt);
  std::vector<DeviceRule> allowed(UsualDevices().begin(), UsualDevices().end());
  for (const std::string& device : request.devices()) {
    HMVM_TRY_ASSIGN(allowed.emplace_back(), RuleForGuestDevice(device));
  }
  auto held = cgroup.RestrictDevices(allowed);
  if (!held.has_value()) {
    held.error().what += " (the guest's kernel needs CONFIG_CGROUP_BPF; without it only --privileged works)";
  }
  return held;
}

Error Busy(const Error& error) { return Error{EBUSY, error.Message()}; }

}  // namespace

Result<std::unique_ptr<Container>> Container::Create(EventLoop& loop, StreamRegistry& streams,
                                                     const std::string& machine_id,
                                                     const v1::CreateContainerRequest& request,
                                                     CgroupMaker& cgroups) {
  const std::string& id = request.container_id();
  if (!IsFileName(id)) return Error{EINVAL, "container id \"" + Escape(id) + "\""};
  if (request.hostname().size() > 64) return Error{EINVAL, "hostname longer than 64 bytes"};
  std::unique_ptr<Container> container(new Container(loop, streams));
  container->directory_ = std::string(kContainers) + "/" + id;
  container->identity_ = {.hostname = request.hostname().empty() ? id.substr(0, 12) : request.hostname(),
                          .machine_id = machine_id};
  container->open_system_paths_ = request.open_system_paths();
  ::mkdir(kContainers, 0700);
  if (::mkdir(container->directory_.c_str(), 0700) < 0 && errno != EEXIST) {
    return Error{EBUSY, "create '" + container->directory_ + "'"};
  }
  if (auto mounted = MountLayers(container->directory_, request.rootfs()); !mounted.has_value()) {
    return Busy(mounted.error());
  }
  container->layers_mounted_ = true;
  auto cgroup = cgroups.Make(id);
  if (!cgroup.has_value()) return Busy(cgroup.error());
  container->cgroup_ = std::move(*cgroup);
  container->has_cgroup_ = true;
  const auto limited = container->cgroup_.Limit({.memory_max_bytes = request.resources().memory_max_bytes(),
                                                 .pids_max = request.resources().pids_max(),
                                                 .cpu_weight = request.resources().cpu_weight()});
  if (!limited.has_value()) return Busy(limited.error());
  if (auto held = HoldToDevices(container->cgroup_, request); !held.has_value()) return Busy(held.error());
  auto namespaces = Namespaces::Create(container->cgroup_.fd(), [&] {
    return EnterContainerRoot(container->directory_, request, container->identity_);
  });
  if (!namespaces.has_value()) return Busy(namespaces.error());
  container->namespaces_ = std::move(*namespaces);
  return container;
}

Container::~Container() {
  processes_.clear();
  namespaces_ = Namespaces();  // the last reference to the container's own mounts
  if (has_cgroup_) cgroup_.Remove();
  if (layers_mounted_) UnmountLayers(directory_);
}

bool Container::running() const {
  const auto first = processes_.find("");
  return first != processes_.end() && !first->second->ended();
}

Result<> Container::Start(const v1::StartProcessRequest& request, ContainerProcess::Started started) {
  const std::string& id = request.process_id();
  if (processes_.contains(id)) return Error{EEXIST, "process '" + Escape(id) + "'"};
  if (!id.empty() && !running()) return Error{EBUSY, "the container is not running"};
  const int init_pidfd = id.empty() ? -1 : processes_.at("")->pidfd();
  auto process = std::make_unique<ContainerProcess>(loop_, streams_, cgroup_);
  HMVM_TRY(process->Start(request,
                          {namespaces_, cgroup_.fd(), init_pidfd, identity_.hostname, open_system_paths_},
                          [this, id, started = std::move(started)](Result<uint32_t> pid) {
                            if (!pid.has_value()) processes_.erase(id);
                            started(std::move(pid));
                          }));
  processes_.emplace(id, std::move(process));
  return {};
}

Result<ContainerProcess*> Container::Find(const std::string& process_id) {
  const auto found = processes_.find(process_id);
  if (found == processes_.end()) return Error{ENOENT, "process '" + Escape(process_id) + "'"};
  return found->second.get();
}

Result<> Container::Forget(const std::string& process_id) {
  HMVM_TRY_ASSIGN(const ContainerProcess* process, Find(process_id));
  if (process_id.empty()) return Error{EBUSY, "the first process goes with its container"};
  if (!process->ended()) return Error{EBUSY, "process '" + Escape(process_id) + "' runs"};
  processes_.erase(process_id);
  return {};
}

Result<> Container::SignalAll(int signal) {
  if (!running()) return Error{ESRCH, "the container is not running"};
  HMVM_TRY_ASSIGN(const std::vector<pid_t> pids, cgroup_.Processes());
  // The list is old by now, but a pid comes back only after all others: what it meant is dead or still meant.
  for (const pid_t pid : pids) ::kill(pid, signal);
  return {};
}

Result<> Container::Freeze() {
  for (const auto& [id, process] : processes_) process->HoldStreams();
  Result<> frozen = cgroup_.Freeze();
  if (!frozen.has_value()) {
    for (const auto& [id, process] : processes_) process->ReleaseStreams();
  }
  return frozen;
}

Result<> Container::Thaw() {
  for (const auto& [id, process] : processes_) process->ReleaseStreams();
  return cgroup_.Thaw();
}

Result<> Container::Adopt(const Identity& identity) {
  for (const auto& [id, process] : processes_) process->Disown(/*expected=*/id.empty());
  identity_ = identity;
  HMVM_TRY(WriteIdentityFiles(directory_, identity_));
  return SetHostname(identity_.hostname, namespaces_.uts);
}

v1::StatsResponse Container::Stats() const {
  const auto number = [&](const char* control) {
    return std::strtoull(cgroup_.Read(control).c_str(), nullptr, 10);  // 0 for "max" and where there is none
  };
  v1::StatsResponse stats;
  stats.set_cpu_ns(KeyedValue(cgroup_.Read("cpu.stat"), "usage_usec") * 1000);
  const uint64_t memory = number("memory.current");
  stats.set_memory_bytes(memory - std::min(memory, KeyedValue(cgroup_.Read("memory.stat"), "inactive_file")));
  const uint64_t limit = number("memory.max");
  const uint64_t total = MemoryTotalBytes();
  stats.set_memory_limit_bytes(limit == 0 ? total : std::min(limit, total));
  stats.set_pids(static_cast<uint32_t>(number("pids.current")));
  const std::string io = cgroup_.Read("io.stat");
  stats.set_read_bytes(NestedSum(io, "rbytes"));
  stats.set_written_bytes(NestedSum(io, "wbytes"));
  return stats;
}

Result<v1::ListProcessesResponse> Container::List() const {
  HMVM_TRY_ASSIGN(const std::vector<pid_t> pids, cgroup_.Processes());
  return ListProcesses(pids);
}

bool Container::OnReaped(pid_t pid, int wait_status) {
  const auto found = std::ranges::find_if(
      processes_, [pid](const auto& entry) { return entry.second->pid() == pid && !entry.second->ended(); });
  if (found == processes_.end()) return false;
  found->second->OnReaped(wait_status);
  return true;
}

}  // namespace hmvm::agent
