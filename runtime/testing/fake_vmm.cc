// A stand-in for hmvm-vmm and the guest in it, for tests of the supervisor and the command line: takes
// hmvm-vmm's flags, speaks guest/api/agent.proto, and runs the "guest's" processes on the host. What the
// kernel file, or a snapshot's machine.pb, says chooses a failure: "refuse" (set-up fails), "panic" (at
// boot), "damaged" (no snapshot), "agentless" (the agent gives up at boot), "hang" (the agent never answers).
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <gflags/gflags.h>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/fd_channel.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "guest/api/agent.pb.h"
#include "security/cgroup.h"
#include "vmm/api/vmm.pb.h"

DEFINE_string(kernel, "", "");
DEFINE_string(initrd, "", "");
DEFINE_string(cmdline, "", "");
DEFINE_string(platform, "", "");
DEFINE_string(disks, "", "");
DEFINE_string(vsock_listener, "", "");
DEFINE_string(agent, "", "");
DEFINE_string(control, "", "");
DEFINE_string(console, "", "");
DEFINE_string(files, "", "");
DEFINE_string(restore, "", "");
DEFINE_string(memory, "", "");
DEFINE_bool(memory_verified, false, "");
DEFINE_string(working_set, "", "");
DEFINE_string(jail, "", "");
DEFINE_string(seccomp, "", "");
DEFINE_string(syscalls, "", "");
DEFINE_string(kvm, "", "");
DEFINE_uint32(cpus, 0, "");
DEFINE_uint32(memory_mib, 0, "");
DEFINE_uint64(memory_limit_mib, 0, "");

namespace hmvm {
namespace {

namespace api = agent::v1;

struct FakeProcess {
  api::StartProcessRequest request;
  TtrpcServer::Responder<api::StartProcessResponse> respond_start;
  pid_t pid = 0;
  UniqueFd pidfd;
  Watch exit_watch;
  bool ended = false;
  api::WaitProcessResponse result;
  std::vector<TtrpcServer::Responder<api::WaitProcessResponse>> waiters;
};

class FakeGuest {
 public:
  explicit FakeGuest(EventLoop& loop) : loop_(loop), server_(loop) {}

  Result<> Serve(bool hang) {
    RegisterHandlers();
    if (!hang) {
      HMVM_TRY_ASSIGN(UniqueFd agent, OpenArgument(FLAGS_agent, O_RDWR));
      HMVM_TRY(server_.Serve(std::move(agent)));
    }
    if (!FLAGS_vsock_listener.empty()) {
      HMVM_TRY_ASSIGN(listener_, OpenArgument(FLAGS_vsock_listener, O_RDWR));
      HMVM_TRY_ASSIGN(listener_watch_,
                      loop_.OnReadable(listener_.get(), [this]() -> Result<> { return Accept(); }));
    }
    HMVM_TRY_ASSIGN(files_, OpenArgument(FLAGS_files, O_RDWR));
    HMVM_TRY_ASSIGN(UniqueFd control, OpenArgument(FLAGS_control, O_RDWR));
    return server_.Serve(std::move(control), [] { ::_exit(0); });
  }

  ~FakeGuest() {
    for (auto& [id, process] : processes_) {
      if (process.pid > 0 && !process.ended) ::kill(process.pid, SIGKILL);
    }
  }

 private:
  // A stream's whole greeting comes at once from our clients; blocking for it is good enough for a fake.
  Result<> Accept() {
    UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char line[13] = {};  // "CONNECT 1025\n"
    HMVM_TRY(ReadFull(peer.get(), std::as_writable_bytes(std::span(line))));
    HMVM_TRY(WriteAll(peer.get(), std::string_view("OK 1\n")));
    uint64_t id = 0;
    HMVM_TRY(ReadFull(peer.get(), std::as_writable_bytes(std::span(&id, 1))));
    streams_[id] = std::move(peer);
    for (auto& [name, process] : processes_) StartIfComplete(name, process);
    return {};
  }

  void StartIfComplete(const std::string& name, FakeProcess& process) {
    const api::StartProcessRequest& request = process.request;
    if (process.pid != 0) return;
    for (const uint64_t id : {request.stdin_stream(), request.stdout_stream(), request.stderr_stream()}) {
      if (id != 0 && !streams_.contains(id)) return;
    }
    const auto take = [&](uint64_t id) {
      if (id == 0) return OpenFile("/dev/null", O_RDWR).value();
      auto node = streams_.extract(id);
      return std::move(node.mapped());
    };
    const UniqueFd in = take(request.stdin_stream());
    const UniqueFd out = take(request.stdout_stream());
    UniqueFd err;
    if (!request.process().terminal()) err = take(request.stderr_stream());
    std::vector<std::string> args(request.process().args().begin(), request.process().args().end());
    std::vector<std::string> env(request.process().env().begin(), request.process().env().end());
    std::vector<char*> argv, envp;
    for (std::string& argument : args) argv.push_back(argument.data());
    for (std::string& variable : env) envp.push_back(variable.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    Pipe failure = MakePipe().value();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(in.get(), 0);
      ::dup2(out.get(), 1);
      ::dup2(err.valid() ? err.get() : out.get(), 2);
      ::setsid();
      ::execvpe(argv[0], argv.data(), envp.data());
      const int code = errno;
      (void)!::write(failure.write.get(), &code, sizeof(code));
      ::_exit(127);
    }
    failure.write.reset();
    int code = 0;
    if (ReadFull(failure.read.get(), std::as_writable_bytes(std::span(&code, 1))).value_or(0) > 0) {
      ::waitpid(pid, nullptr, 0);
      process.respond_start(Error{code, "execute '" + args[0] + "'"});
      loop_.Post([this, name] { processes_.erase(name); });
      return;
    }
    process.pid = pid;
    process.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    process.exit_watch = loop_
                             .OnReadable(process.pidfd.get(),
                                         [&process]() -> Result<> {
                                           OnExit(process);
                                           return {};
                                         })
                             .value();
    api::StartProcessResponse response;
    response.set_pid(static_cast<uint32_t>(pid));
    process.respond_start(response);
  }

  static void OnExit(FakeProcess& process) {
    // As a PID namespace's end does, even of those that a pause has stopped.
    if (process.request.process_id().empty()) ::kill(-process.pid, SIGKILL);
    int status = 0;
    ::waitpid(process.pid, &status, 0);
    process.exit_watch = Watch();
    process.ended = true;
    process.result.set_exit_status(
        static_cast<uint32_t>(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)));
    for (auto& respond : process.waiters) respond(process.result);
    process.waiters.clear();
  }

  FakeProcess* Find(const std::string& id) {
    const auto found = processes_.find(id);
    return found == processes_.end() ? nullptr : &found->second;
  }

  void SignalAll(int signal) {
    for (const auto& [id, process] : processes_) {
      if (process.pid > 0 && !process.ended) ::kill(-process.pid, signal);
    }
  }

  void RegisterHandlers() {
    server_.Handle<vmm::v1::DescribeRequest, vmm::v1::DescribeResponse>(
        "hmvm.vmm.v1.Vmm", "Describe", [](const auto&, auto respond) {
          vmm::v1::DescribeResponse response;
          vmm::v1::Counter* counter = response.add_counters();
          counter->set_name("exits.of_a_fake");
          counter->set_value(7);
          respond(std::move(response));
        });
    server_.Handle<vmm::v1::PauseRequest, vmm::v1::PauseResponse>("hmvm.vmm.v1.Vmm", "Pause",
                                                                  [this](const auto&, auto respond) {
                                                                    SignalAll(SIGSTOP);
                                                                    respond(vmm::v1::PauseResponse());
                                                                  });
    server_.Handle<vmm::v1::ResumeRequest, vmm::v1::ResumeResponse>("hmvm.vmm.v1.Vmm", "Resume",
                                                                    [this](const auto&, auto respond) {
                                                                      SignalAll(SIGCONT);
                                                                      respond(vmm::v1::ResumeResponse());
                                                                    });
    server_.Handle<vmm::v1::SnapshotRequest, vmm::v1::SnapshotResponse>(
        "hmvm.vmm.v1.Vmm", "Snapshot", [this](const auto&, auto respond) {
          const std::vector<UniqueFd> files = ReceiveFds(files_.get()).value();
          for (const UniqueFd& file : files) {
            (void)WriteAll(file.get(), std::string_view("snapshot"));
          }
          respond(vmm::v1::SnapshotResponse());
        });
    constexpr const char* kAgent = "hmvm.agent.v1.Agent";
    server_.Handle<api::DescribeRequest, api::DescribeResponse>(
        kAgent, "Describe", [](const auto&, auto respond) { respond(api::DescribeResponse()); });
    server_.Handle<api::PersonaliseRequest, api::Empty>(
        kAgent, "Personalise", [](const auto&, auto respond) { respond(api::Empty()); });
    server_.Handle<api::CreateContainerRequest, api::CreateContainerResponse>(
        kAgent, "CreateContainer",
        [](const auto&, auto respond) { respond(api::CreateContainerResponse()); });
    server_.Handle<api::ContainerRequest, api::StatsResponse>(kAgent, "Stats", [](const auto&, auto respond) {
      api::StatsResponse stats;
      stats.set_memory_bytes(3 << 20);
      stats.set_memory_limit_bytes(12 << 20);
      stats.set_pids(5);
      respond(std::move(stats));
    });
    server_.Handle<api::ContainerRequest, api::ListProcessesResponse>(
        kAgent, "ListProcesses", [](const auto&, auto respond) {
          api::ListProcessesResponse list;
          api::ProcessInfo* const info = list.add_processes();
          info->set_pid(1);
          info->set_cpu_ns(3'723'000'000'000);
          info->set_command("evil \x1b[2J");
          respond(std::move(list));
        });
    server_.Handle<api::AdjustClockRequest, api::AdjustClockResponse>(
        kAgent, "AdjustClock", [](const auto&, auto respond) {
          api::AdjustClockResponse response;
          response.set_realtime_ns(NowUnixNs());  // the guest's clock is the host's: nothing to adjust
          respond(std::move(response));
        });
    server_.Handle<api::StartProcessRequest, api::StartProcessResponse>(
        kAgent, "StartProcess", [this](const api::StartProcessRequest& request, auto respond) {
          FakeProcess& process = processes_[request.process_id()];
          process.request = request;
          process.respond_start = std::move(respond);
          StartIfComplete(request.process_id(), process);
        });
    server_.Handle<api::ProcessRequest, api::WaitProcessResponse>(
        kAgent, "WaitProcess", [this](const api::ProcessRequest& request, auto respond) {
          FakeProcess* process = Find(request.process_id());
          if (process == nullptr) return respond(Error{ENOENT, "process"});
          if (process->ended) return respond(process->result);
          process->waiters.push_back(std::move(respond));
        });
    server_.Handle<api::ProcessRequest, api::Empty>(kAgent, "RemoveProcess",
                                                    [this](const api::ProcessRequest& request, auto respond) {
                                                      processes_.erase(request.process_id());
                                                      respond(api::Empty());
                                                    });
    server_.Handle<api::SignalProcessRequest, api::Empty>(
        kAgent, "SignalProcess", [this](const api::SignalProcessRequest& request, auto respond) {
          const FakeProcess* process = Find(request.process_id());
          if (process == nullptr || process->ended) return respond(Error{ENOENT, "process"});
          ::kill(request.all() ? -process->pid : process->pid, static_cast<int>(request.signal()));
          respond(api::Empty());
        });
    server_.Handle<api::ResizeTerminalRequest, api::Empty>(
        kAgent, "ResizeTerminal", [this](const api::ResizeTerminalRequest& request, auto respond) {
          const FakeProcess* process = Find(request.process_id());
          if (process == nullptr || process->ended) return respond(Error{ENOENT, "process"});
          ::kill(process->pid, SIGWINCH);
          respond(api::Empty());
        });
  }

  EventLoop& loop_;
  TtrpcServer server_;
  UniqueFd files_;
  UniqueFd listener_;
  Watch listener_watch_;
  std::map<uint64_t, UniqueFd> streams_;
  std::map<std::string, FakeProcess> processes_;
};

int Main() {
  char kernel[64] = {};
  const UniqueFd kernel_fd =
      OpenArgument(FLAGS_restore.empty() ? FLAGS_kernel : FLAGS_restore, O_RDONLY).value();
  (void)!::read(kernel_fd.get(), kernel, sizeof(kernel) - 1);
  const std::string_view mode(kernel);
  if (mode.starts_with("refuse")) {
    std::fputs("E1123 10:11:12.345678 77 fake.cc:1] kernel 'fd:3': not an ELF file\n", stderr);
    return 1;
  }
  if (mode.starts_with("damaged")) {
    std::fputs("E1123 10:11:12.345678 77 fake.cc:1] snapshot 'fd:5': it is damaged\n", stderr);
    return 1;
  }
  if (mode.starts_with("panic")) {
    const UniqueFd console = OpenArgument(FLAGS_console, O_WRONLY).value();
    (void)WriteAll(
        console.get(),
        std::string_view("[ 0.1] booting\r\n[ 0.2] Kernel panic - not syncing: \x1btest\r\n[ 0.3] end\r\n"));
    return 3;
  }
  if (mode.starts_with("agentless")) {
    const UniqueFd console = OpenArgument(FLAGS_console, O_WRONLY).value();
    (void)WriteAll(console.get(),
                   std::string_view("[ 0.1] hmvm-agent: no vsock\r\n"
                                    "[ 0.2] Kernel panic - not syncing: Attempted to kill init!\r\n"));
    return 3;
  }
  auto loop = EventLoop::Create().value();
  FakeGuest guest(*loop);
  if (auto served = guest.Serve(mode.starts_with("hang")); !served.has_value()) {
    std::fprintf(stderr, "%s\n", served.error().Message().c_str());
    return 1;
  }
  return loop->Run().has_value() ? 0 : 4;
}

}  // namespace
}  // namespace hmvm

int main(int argc, char** argv) {
  // Its "guest" runs programs, which the eBPF guard lets no VMM do: out of the cgroup that is guarded.
  if (const auto procs = hmvm::OpenFile(hmvm::FindCgroup2() + "/cgroup.procs", O_WRONLY); procs.has_value()) {
    (void)hmvm::WriteAll(procs->get(), "0");
  }
  ::signal(SIGPIPE, SIG_IGN);
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return hmvm::Main();
}
