#include "runtime/supervisor/machine.h"

#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <array>
#include <string_view>

#include "base/escape.h"
#include "base/fd_channel.h"
#include "base/file.h"
#include "base/size.h"
#include "runtime/container/profile_use.h"
#include "runtime/snapshot/store.h"

namespace hmvm {
namespace {

// hmvm-vmm's exit statuses.
constexpr int kVmmPowerOff = 0;
constexpr int kVmmSetUpFailed = 1;
constexpr int kVmmGuestReset = 2;
constexpr int kVmmGuestPanic = 3;

// The descriptors' numbers in the VMM.
enum VmmFd {
  kKernelFd = 3,
  kInitrdFd,
  kStateFd,  // or an archive
  kRootfsFd,
  kVsockFd,
  kAgentFd,
  kControlFd,
  kFilesFd,
  kConsoleFd,
  kWorkingSetFd,
  kFirstMemoryFd
};

std::string Fd(int number) { return "fd:" + std::to_string(number); }

// The last line of `text` that holds `word`; without its newline.
std::string_view LastLineWith(std::string_view text, std::string_view word) {
  const size_t at = text.rfind(word);
  if (at == std::string_view::npos) return {};
  const size_t newline = text.rfind('\n', at);
  const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
  return text.substr(begin, text.find_first_of("\r\n", at) - begin);
}

// A panic's own line; the agent's, where its failure is what the kernel panicked of.
std::string_view PanicReason(std::string_view console) {
  const std::string_view panic = LastLineWith(console, "Kernel panic");
  const std::string_view agent = LastLineWith(console, "hmvm-agent: ");
  return panic.find("Attempted to kill init") != std::string_view::npos && !agent.empty() ? agent : panic;
}

// What the VMM or guest said last, ready to follow a sentence; both are untrusted.
std::string Quote(std::string_view words) { return words.empty() ? "" : ": " + Escape(words, 400); }

// What a thread's filter has ended, for the audit log, where no guard has told more: the kernel tells which
// call it was to its own log alone.
GuardEvent SeccompBreach(pid_t pid) {
  GuardEvent event;
  event.kind = "seccomp";
  event.deed = "killed";
  event.state = "sealed";
  event.number = -1;
  event.call = "a forbidden system call";
  event.pid = static_cast<uint32_t>(pid);
  event.thread = "unknown";
  event.process = "hmvm-vmm";
  return event;
}

}  // namespace

std::string_view LastLogMessage(std::string_view log) {
  while (log.ends_with('\n') || log.ends_with('\r')) log.remove_suffix(1);
  if (const size_t newline = log.rfind('\n'); newline != std::string_view::npos)
    log.remove_prefix(newline + 1);
  const size_t prefix = log.find("] ");
  return prefix == std::string_view::npos ? log : log.substr(prefix + 2);
}

void NameFile(std::string& message, int fd, const std::string& name) {
  const std::string number = "'" + Fd(fd) + "'";
  const size_t at = message.find(number);
  if (at != std::string::npos) message.replace(at, number.size(), name);
}

Result<std::unique_ptr<Machine>> Machine::Start(EventLoop& loop, const std::string& id,
                                                const ContainerConfig& config, const MachineFiles& files,
                                                bool boot, UniqueFd vsock_listener, const GuardWishes& guard,
                                                std::function<void()> on_end) {
  std::unique_ptr<Machine> machine(new Machine());
  HMVM_TRY_ASSIGN(SocketPair agent, MakeSocketPair(SOCK_STREAM));
  HMVM_TRY_ASSIGN(SocketPair control, MakeSocketPair(SOCK_STREAM));
  HMVM_TRY_ASSIGN(SocketPair snapshots, MakeSocketPair(SOCK_SEQPACKET));
  HMVM_TRY_ASSIGN(Pipe console, MakePipe());
  HMVM_TRY_ASSIGN(Pipe log, MakePipe());
  HMVM_TRY_ASSIGN(UniqueFd null, OpenFile("/dev/null", O_RDWR));
  HMVM_TRY_ASSIGN(machine->console_, TailCapture::Start(loop, std::move(console.read)));
  HMVM_TRY_ASSIGN(machine->log_, TailCapture::Start(loop, std::move(log.read)));
  Process::Options options;
  options.arguments = {files.vmm_program,
                       "--platform=" + config.platform,
                       "--disks=ro:" + Fd(kRootfsFd),
                       "--vsock_listener=" + Fd(kVsockFd),
                       "--agent=" + Fd(kAgentFd),
                       "--control=" + Fd(kControlFd),
                       "--files=" + Fd(kFilesFd),
                       "--console=" + Fd(kConsoleFd)};
  options.fds = {{null.get(), 0},
                 {null.get(), 1},
                 {log.write.get(), 2},
                 {files.rootfs.get(), kRootfsFd},
                 {vsock_listener.get(), kVsockFd},
                 {agent.second.get(), kAgentFd},
                 {control.second.get(), kControlFd},
                 {snapshots.second.get(), kFilesFd},
                 {console.write.get(), kConsoleFd}};
  const auto give = [&options](const std::string& flag, const UniqueFd& file, int number) {
    options.arguments.push_back(flag + Fd(number));
    options.fds.emplace_back(file.get(), number);
  };
  if (files.snapshot.has_value() && !boot) {
    const MachineSnapshot& snapshot = *files.snapshot;
    if (snapshot.archive.valid()) {
      give("--archive=", snapshot.archive, kStateFd);
      machine->state_name_ = "the exported file";
    } else {
      give("--restore=", snapshot.state, kStateFd);
      std::string memory = "--memory=";
      for (size_t i = 0; i < snapshot.memory.size(); ++i) {
        const int number = kFirstMemoryFd + static_cast<int>(i);
        memory += (i == 0 ? "" : ",") + Fd(number);
        options.fds.emplace_back(snapshot.memory[i].get(), number);
      }
      options.arguments.push_back(std::move(memory));
      if (snapshot.cpus != 0) options.arguments.push_back("--cpus=" + std::to_string(snapshot.cpus));
      if (snapshot.memory_mib != 0) {
        options.arguments.push_back("--memory_mib=" + std::to_string(snapshot.memory_mib));
      }
      if (snapshot.known_whole()) options.arguments.push_back("--memory_verified");
      if (snapshot.working_set.valid()) give("--working_set=", snapshot.working_set, kWorkingSetFd);
    }
  } else {
    give("--kernel=", files.kernel, kKernelFd);
    give("--initrd=", files.initrd, kInitrdFd);
    options.arguments.push_back("--cpus=" + std::to_string(config.cpus));
    options.arguments.push_back("--memory_mib=" + std::to_string(MemoryMib(config.memory_bytes)));
  }
  if (const std::string limits = IoLimitsFlag(config.resources); !limits.empty()) {
    options.arguments.push_back("--io_limits=" + limits);
  }
  HMVM_TRY_ASSIGN(machine->cell_, Cell::Create(id, HostLimits(config.resources, config.memory_bytes)));
  HMVM_TRY_ASSIGN(const VmmPolicy policy, VmmPolicyOf(config));
  const std::vector<SyscallRule> further = FurtherRules(policy);
  const bool audit = policy.on_breach == OnBreach::kAudit;
  HMVM_TRY(machine->Guard(loop, id, guard, further, audit));
  machine->on_breach_ = guard.on_event;
  machine->cell_.Enclose(audit && config.seccomp == "kill" ? "log" : config.seccomp, further, options);
  options.die_with_parent = true;
  HMVM_TRY_ASSIGN(machine->process_, Process::Start(options));
  machine->agent_ = std::move(agent.first);
  machine->control_ = TtrpcClient::Create(std::move(control.first));
  machine->files_ = std::move(snapshots.first);
  machine->on_end_ = std::move(on_end);
  HMVM_TRY_ASSIGN(machine->exit_watch_, loop.OnReadable(machine->process_.pidfd(),
                                                        [raw = machine.get()] { return raw->OnExit(); }));
  return machine;
}

Result<> Machine::Guard(EventLoop& loop, const std::string& id, const GuardWishes& wishes,
                        std::span<const SyscallRule> further, bool audit) {
  GuardRules rules = VmmRules();
  for (auto* of_state : {&rules.setting_up, &rules.sealed}) {
    of_state->insert(of_state->end(), further.begin(), further.end());
  }
  auto guard = GuardedVm::Create(loop, {.name = id,
                                        .cgroup = cell_.cgroup().id(),
                                        .audit = audit,
                                        .on_event = wishes.on_event,
                                        .in_background = wishes.in_background,
                                        .rules = std::move(rules)});
  if (guard.has_value()) {
    guard_ = std::move(*guard);
  } else if (wishes.required) {
    return Error{0, "--require-guard: " + guard.error().Message()};
  } else {
    guard_problem_ = guard.error().Message();
  }
  return {};
}

Machine::~Machine() {
  if (ended_ || process_.pid() <= 0) return;
  Kill();
  (void)process_.Wait();
}

Result<vmm::v1::DescribeResponse> Machine::Describe() const {
  return control_->Call<vmm::v1::DescribeResponse>("hmvm.vmm.v1.Vmm", "Describe", vmm::v1::DescribeRequest(),
                                                   std::chrono::seconds(1));
}

Result<> Machine::Pause() const {
  HMVM_TRY(control_->Call<vmm::v1::PauseResponse>("hmvm.vmm.v1.Vmm", "Pause", vmm::v1::PauseRequest(),
                                                  std::chrono::seconds(10)));
  return {};
}

Result<> Machine::Resume() const {
  HMVM_TRY(control_->Call<vmm::v1::ResumeResponse>("hmvm.vmm.v1.Vmm", "Resume", vmm::v1::ResumeRequest(),
                                                   std::chrono::seconds(10)));
  return {};
}

Result<> Machine::MakeRoomForSnapshot(const std::string& folder, uint64_t memory_bytes) const {
  struct statfs file_system = {};
  if (::statfs(folder.c_str(), &file_system) < 0) return Error{errno, "look at '" + folder + "'"};
  if (file_system.f_type != TMPFS_MAGIC && file_system.f_type != RAMFS_MAGIC) return {};
  return cell_.cgroup().AllowMoreMemory(memory_bytes);
}

Result<> Machine::PrepareSnapshot(const UniqueFd& state, const UniqueFd& memory,
                                  const vmm::v1::SnapshotRequest& request) const {
  HMVM_TRY(SendFds(files_.get(), std::array{state.get(), memory.get()}));
  HMVM_TRY(control_->Call<vmm::v1::PrepareSnapshotResponse>("hmvm.vmm.v1.Vmm", "PrepareSnapshot", request));
  return {};
}

Result<vmm::v1::SnapshotResponse> Machine::Snapshot(const vmm::v1::SnapshotRequest& request) const {
  return control_->Call<vmm::v1::SnapshotResponse>("hmvm.vmm.v1.Vmm", "Snapshot", request);
}

Result<vmm::v1::WorkingSet> Machine::WorkingSet() const {
  return control_->Call<vmm::v1::WorkingSet>("hmvm.vmm.v1.Vmm", "DescribeWorkingSet",
                                             vmm::v1::DescribeWorkingSetRequest(), std::chrono::seconds(1));
}

Result<> Machine::OnExit() {
  exit_watch_ = Watch();
  HMVM_TRY_ASSIGN(wait_status_, process_.Wait());
  ended_ = true;
  if (guard_ != nullptr) guard_->Drain();
  const bool by_filter = WIFSIGNALED(wait_status_) && WTERMSIG(wait_status_) == SIGSYS;
  const bool told = guard_ != nullptr && guard_->breach().has_value();
  if (by_filter && !told && on_breach_) on_breach_(SeccompBreach(process_.pid()));
  cell_ = Cell();
  console_->Drain();
  log_->Drain();
  on_end_();
  return {};
}

void Machine::Kill() {
  if (!ended_) (void)process_.Signal(SIGKILL);
}

namespace {

std::string WithNames(std::string message, const ContainerConfig& config, const std::string& state_name) {
  NameFile(message, kKernelFd, "'" + config.kernel + "'");
  NameFile(message, kStateFd, state_name);
  for (int i = 0; i < static_cast<int>(kMaxSnapshotChain); ++i) {
    NameFile(message, kFirstMemoryFd + i,
             "the snapshot's memory" + (i == 0 ? "" : ", diff " + std::to_string(i) + ","));
  }
  return message;
}

}  // namespace

std::string Machine::SetUpError(const ContainerConfig& config) const {
  const std::string message = WithNames(std::string(LastLogMessage(vmm_log())), config, state_name_);
  return message.empty() ? "the virtual machine monitor ended without a word" : Escape(message, 400);
}

bool Machine::Failed() const {
  if (WIFEXITED(wait_status_)) return WEXITSTATUS(wait_status_) != kVmmPowerOff;
  return WTERMSIG(wait_status_) != SIGKILL || (guard_ != nullptr && guard_->breach().has_value());
}

std::string Machine::EndReason(const ContainerConfig& config) const {
  if (WIFSIGNALED(wait_status_) && WTERMSIG(wait_status_) == SIGSYS) {
    return "the virtual machine monitor made a forbidden system call and was killed" +
           (guard_ != nullptr && guard_->breach().has_value() ? ": " + guard_->breach()->Describe()
                                                              : Quote(LastLogMessage(vmm_log())));
  }
  if (WIFSIGNALED(wait_status_)) {
    if (guard_ != nullptr && guard_->breach().has_value()) {
      return "the virtual machine monitor was killed by the guard: " + guard_->breach()->Describe();
    }
    return "the virtual machine monitor was ended by signal " + std::to_string(WTERMSIG(wait_status_)) +
           " (" + ::strsignal(WTERMSIG(wait_status_)) + ")" + Quote(LastLogMessage(vmm_log()));
  }
  const int status = WEXITSTATUS(wait_status_);
  switch (status) {
    case kVmmPowerOff:
      return "the guest switched the machine off";
    case kVmmSetUpFailed:
      return SetUpError(config);
    case kVmmGuestReset:
      return "the guest reset the machine" + Quote(LastLineWith(console(), "reboot"));
    case kVmmGuestPanic:
      return "the guest's kernel '" + config.kernel + "' panicked" + Quote(PanicReason(console()));
    default:
      return "the virtual machine monitor failed (status " + std::to_string(status) + ")" +
             Quote(WithNames(std::string(LastLogMessage(vmm_log())), config, state_name_));
  }
}

}  // namespace hmvm
