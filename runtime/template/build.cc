#include "runtime/template/build.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "base/escape.h"
#include "base/fd_channel.h"
#include "base/file.h"
#include "base/process.h"
#include "base/ttrpc/client.h"
#include "guest/api/agent.pb.h"
#include "runtime/supervisor/machine.h"
#include "security/cell.h"
#include "security/guard/audit.h"
#include "security/guard/guarded_vm.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm {
namespace {

// A guest that has not booted by then never will, also where ring 0 is emulated.
constexpr std::chrono::minutes kPatience{2};

// All processors but the first wait for a container that asks for them. Code stays as several need it, so
// that the second has nothing to patch. Who adds memory waits for grace periods of RCU: expedited, 17 ms
// less, and with so few processors they disturb nobody.
constexpr char kRoomCommandLine[] = "maxcpus=1 noreplace-smp rcupdate.rcu_expedited=1";

enum VmmFd { kKernelFd = 3, kInitrdFd, kAgentFd, kControlFd, kFilesFd };

std::string Fd(int number) { return "fd:" + std::to_string(number); }

// The VMM that boots the template's machine; it ends with this object.
class Builder {
 public:
  ~Builder() {
    if (process_.pid() > 0) {
      (void)process_.Signal(SIGKILL).has_value();
      (void)process_.Wait().has_value();
    }
    HearGuard();
  }

  Result<> Start(const TemplateMachine& machine, const std::string& name, const BuildGuard& guard) {
    kernel_ = machine.kernel;
    HMVM_TRY_ASSIGN(const UniqueFd kernel, OpenFile(kernel_, O_RDONLY));
    HMVM_TRY_ASSIGN(const UniqueFd initrd, OpenFile(machine.initramfs, O_RDONLY));
    HMVM_TRY_ASSIGN(const UniqueFd null, OpenFile("/dev/null", O_RDWR));
    HMVM_TRY_ASSIGN(SocketPair agent, MakeSocketPair(SOCK_STREAM));
    HMVM_TRY_ASSIGN(SocketPair control, MakeSocketPair(SOCK_STREAM));
    HMVM_TRY_ASSIGN(SocketPair files, MakeSocketPair(SOCK_SEQPACKET));
    log_ = UniqueFd(::memfd_create("vmm.log", MFD_CLOEXEC));
    if (!log_.valid()) return Error{errno, "memfd_create"};
    const GrowthLimits limits = GrowthLimits::Find();
    Process::Options options = {
        .arguments = {machine.vmm_program, "--kernel=" + Fd(kKernelFd), "--initrd=" + Fd(kInitrdFd),
                      "--cpus=" + std::to_string(machine.grows ? limits.cpus : machine.cpus),
                      "--memory_mib=" + std::to_string(machine.memory_mib), "--platform=" + machine.platform,
                      "--disks=none", "--agent=" + Fd(kAgentFd), "--control=" + Fd(kControlFd),
                      "--files=" + Fd(kFilesFd)},
        .fds = {{null.get(), 0},
                {null.get(), 1},
                {log_.get(), 2},
                {kernel.get(), kKernelFd},
                {initrd.get(), kInitrdFd},
                {agent.second.get(), kAgentFd},
                {control.second.get(), kControlFd},
                {files.second.get(), kFilesFd}},
        .die_with_parent = true};
    if (machine.grows) {
      options.arguments.push_back("--memory_limit_mib=" + std::to_string(limits.memory_mib));
      options.arguments.push_back(std::string("--cmdline=") + kRoomCommandLine);
    }
    HMVM_TRY_ASSIGN(cell_, Cell::Create(name, {}));
    HMVM_TRY(Guard(name, guard));
    cell_.Enclose("kill", {}, options);
    HMVM_TRY_ASSIGN(process_, Process::Start(options));
    agent_ = TtrpcClient::Create(std::move(agent.first));
    control_ = TtrpcClient::Create(std::move(control.first));
    files_ = std::move(files.first);
    return {};
  }

  Result<> AwaitAgent() {
    const auto ready = agent_->Call<agent::v1::DescribeResponse>("hmvm.agent.v1.Agent", "Describe",
                                                                 agent::v1::DescribeRequest(), kPatience);
    if (!ready.has_value()) return Error{ECANCELED, Explain("boot", ready.error()).Message()};
    return {};
  }

  // The machine is no more afterwards.
  Result<> Snapshot(const TemplateStore::Draft& draft) {
    HMVM_TRY(SendFds(files_.get(), std::array{draft.machine().get(), draft.memory().get()}));
    vmm::v1::SnapshotRequest request;
    request.set_stop_after(true);
    const auto taken =
        control_->Call<vmm::v1::SnapshotResponse>("hmvm.vmm.v1.Vmm", "Snapshot", request, kPatience);
    if (!taken.has_value()) return Explain("take a snapshot", taken.error());
    return {};
  }

 private:
  Result<> Guard(const std::string& name, const BuildGuard& wishes) {
    HMVM_TRY_ASSIGN(loop_, EventLoop::Create());
    auto guard = GuardedVm::Create(
        *loop_, {.name = name,
                 .cgroup = cell_.cgroup().id(),
                 .on_event =
                     [name, wishes](const GuardEvent& event) {
                       (void)AuditBreach(wishes.audit_folder, event, {.container = name, .image = ""});
                     },
                 .in_background =
                     [this](std::function<void()> task) { ring_comes_ = std::jthread(std::move(task)); }});
    if (guard.has_value()) {
      guard_ = std::move(*guard);
    } else if (wishes.required) {
      return Error{ECANCELED, "--require-guard: " + guard.error().Message()};
    }
    return {};
  }

  // When the VMM has ended.
  void HearGuard() {
    if (ring_comes_.joinable()) ring_comes_.join();
    if (guard_ != nullptr) guard_->Drain();
  }

  // Where the connection ended with the VMM, what it said last tells more.
  Error Explain(const char* what, const Error& error) {
    if (error.code != ECONNRESET) return Wrap(what, error);
    (void)process_.Wait().has_value();
    process_ = Process();
    HearGuard();
    if (guard_ != nullptr && guard_->breach().has_value()) {
      return Error{0, std::string(what) + ": its monitor was killed: " + guard_->breach()->Describe()};
    }
    std::string log(4096, '\0');
    const off_t end = ::lseek(log_.get(), 0, SEEK_END);
    const ssize_t got = ::pread(log_.get(), log.data(), log.size(), end > 4096 ? end - 4096 : 0);
    log.resize(got > 0 ? static_cast<size_t>(got) : 0);
    std::string words(LastLogMessage(log));
    if (words.empty()) return Wrap(what, error);
    NameFile(words, kKernelFd, "'" + kernel_ + "'");
    return Error{0, std::string(what) + ": " + Escape(words, 400)};
  }

  std::string kernel_;
  UniqueFd log_;
  Cell cell_;
  std::unique_ptr<EventLoop> loop_;  // never runs: the guard is heard at the end
  std::unique_ptr<GuardedVm> guard_;
  std::jthread ring_comes_;
  Process process_;
  std::unique_ptr<TtrpcClient> agent_;
  std::unique_ptr<TtrpcClient> control_;
  UniqueFd files_;
};

}  // namespace

Result<> BuildTemplate(const TemplateStore& store, const TemplateKey& key, const BuildGuard& guard) {
  HMVM_TRY_ASSIGN(TemplateStore::Draft draft, store.Begin(key));
  Builder builder;
  HMVM_TRY(builder.Start(key.machine, draft.CellName(), guard));
  HMVM_TRY(builder.AwaitAgent());
  HMVM_TRY(builder.Snapshot(draft));
  return draft.Commit();
}

}  // namespace hmvm
