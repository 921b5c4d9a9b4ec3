// The commands that change how containers live: pause, resume, stop, kill, rm, wait.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/cli/commands.h"
#include "runtime/cli/running.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

// How long a container gets to end that is killed. One that is removed by force has its supervisor killed
// then.
constexpr std::chrono::seconds kForceLimit{10};

// Blocks until the process ends; false when the time is over before.
bool WaitForEnd(const UniqueFd& pidfd, int timeout_ms) {
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  int got = 0;
  do {
    got = ::poll(&ended, 1, timeout_ms);
  } while (got < 0 && errno == EINTR);
  return got > 0;
}

void KillAndWait(const ProcessIdentity& identity) {
  const UniqueFd pidfd = OpenProcess(identity);
  if (!pidfd.valid()) return;
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  WaitForEnd(pidfd, -1);
}

// Pause and Resume: `call` to each container's supervisor.
Result<int> AskEach(const Folders& folders, const std::vector<std::string>& names, Status wanted,
                    Result<> (SupervisorClient::*call)()) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(names, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    if (!record.live())
      return Error{0, "container '" + record.name + "' " + WhyIllegal(record.status(), wanted)};
    HMVM_TRY_ASSIGN(SupervisorClient supervisor, ConnectToRunning(store, record));
    if (auto done = (supervisor.*call)(); !done.has_value()) {
      if (done.error().code == ECONNRESET) return Error{0, "container '" + record.name + "' has ended"};
      return Error{0, done.error().what};
    }
    return Print(name + "\n");
  });
}

Result<> SendSignal(SupervisorClient& supervisor, int signal) {
  HMVM_TRY(supervisor.Signal("", signal, kForceLimit));
  if (signal != SIGKILL) return {};
  // Nothing survives it: `rm` or `start` may follow.
  const auto ended = supervisor.Wait(api::WaitRequest::STOPPED, kForceLimit);
  if (!ended.has_value() && ended.error().code == ETIMEDOUT) return ended.error();
  return {};
}

}  // namespace

Result<int> Execute(const Folders& folders, const PauseOptions& options) {
  return AskEach(folders, options.containers, Status::kPausing, &SupervisorClient::Pause);
}

Result<int> Execute(const Folders& folders, const ResumeOptions& options) {
  return AskEach(folders, options.containers, Status::kResuming, &SupervisorClient::Resume);
}

Result<> StopContainer(const ContainerStore& store, const ContainerRecord& record, uint32_t timeout_s) {
  if (!record.live()) return {};
  HMVM_TRY_ASSIGN(auto supervisor, ConnectToLive(store, record));
  if (!supervisor.has_value()) return {};
  auto stopped = supervisor->Stop(uint64_t{timeout_s} * 1000);
  if (!stopped.has_value() && stopped.error().code != ECONNRESET) return stopped.error();
  return {};
}

Result<int> Execute(const Folders& folders, const StopOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    HMVM_TRY(StopContainer(store, record, options.timeout_s));
    return Print(name + "\n");
  });
}

Result<int> Execute(const Folders& folders, const KillOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    HMVM_TRY_ASSIGN(SupervisorClient supervisor, ConnectToRunning(store, record));
    if (auto sent = SendSignal(supervisor, options.signal); !sent.has_value()) {
      switch (sent.error().code) {
        case ECONNRESET:
        case ENOENT:  // its process; the machine follows
          return Error{0, "container '" + record.name + "' has ended"};
        case EBUSY:
          return Error{0, sent.error().what};
        case ETIMEDOUT:
          return Error{0, "container '" + record.name + "': nothing has come of the signal for " +
                              std::to_string(kForceLimit.count()) + " s; `hmvm stop -t 0 " + record.name +
                              "` ends its machine"};
        default:
          return Wrap("container '" + record.name + "'", sent.error());
      }
    }
    return Print(name + "\n");
  });
}

Result<> RemoveByForce(const ContainerStore& store, ContainerRecord record) {
  for (;;) {
    // Its supervisor can tell those who wait how it ended, if it still listens.
    if (auto supervisor = SupervisorClient::Connect(store, record.id); supervisor.has_value()) {
      (void)supervisor->Stop(0, kForceLimit);
      if (const UniqueFd pidfd = OpenProcess(record.owner); pidfd.valid()) WaitForEnd(pidfd, 1000);
    }
    KillAndWait(record.owner);
    KillAndWait(record.vmm);
    auto removed = store.Remove(record.id);
    if (removed.has_value() || removed.error().code != EBUSY) return removed;
    // Somebody has started it since we read its state.
    HMVM_TRY_ASSIGN(record, store.Load(record.id));
  }
}

Result<int> Execute(const Folders& folders, const RmOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  folders.Sweep(store);
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(const ContainerStore::Entry entry, store.FindEntry(name));
    const ContainerRecord& record = entry.record;
    if (options.force) {
      HMVM_TRY(RemoveByForce(store, record));
    } else if (!entry.problem.empty()) {
      return Error{0, entry.problem + "; `hmvm rm -f` removes the container"};
    } else if (auto removed = store.Remove(record.id); !removed.has_value()) {
      return removed.error().code == EBUSY ? Error{0, removed.error().what} : removed.error();
    }
    return Print(name + "\n");
  });
}

Result<int> Execute(const Folders& folders, const WaitOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  return ForEach(options.containers, [&](const std::string& name) -> Result<> {
    HMVM_TRY_ASSIGN(ContainerRecord record, store.Find(name));
    while (record.live()) {
      HMVM_TRY_ASSIGN(auto supervisor, ConnectToLive(store, record));
      if (supervisor.has_value()) {
        const auto answer = supervisor->Wait(api::WaitRequest::STOPPED);
        if (answer.has_value()) return Print(std::to_string(answer->exit_code()) + "\n");
      }
      // Without an answer it has ended, well or not: the state file tells.
      HMVM_TRY_ASSIGN(record, store.Load(record.id));
    }
    return Print(std::to_string(record.exit_code) + "\n");
  });
}

}  // namespace hmvm
