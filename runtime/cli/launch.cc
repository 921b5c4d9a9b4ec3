#include "runtime/cli/launch.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/size.h"
#include "runtime/cli/attachment.h"
#include "runtime/cli/commands.h"
#include "runtime/supervisor/supervisor.h"
#include "runtime/supervisor/supervisor_client.h"
#include "runtime/template/build.h"
#include "runtime/template/store.h"
#include "vmm/api/added_memory.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr int kOutputClosed = 128 + SIGPIPE;

// A descriptor that the user's shell or script left open must not live as long as the container.
void CloseAllBut(const SupervisorInput& input) {
  const MachineFiles& files = input.container.files;
  const ClientStreams& streams = input.container.client_streams;
  std::vector<int> kept = {STDERR_FILENO,      files.kernel.get(), files.initrd.get(), files.rootfs.get(),
                           input.client.get(), streams.in.get(),   streams.out.get(),  streams.err.get()};
  if (files.snapshot.has_value()) {
    kept.push_back(files.snapshot->state.get());
    kept.push_back(files.snapshot->archive.get());
    kept.push_back(files.snapshot->working_set.get());
    for (const UniqueFd& memory : files.snapshot->memory) kept.push_back(memory.get());
  }
  std::sort(kept.begin(), kept.end());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] < STDERR_FILENO) continue;
    const unsigned first = static_cast<unsigned>(kept[i]) + 1;
    const unsigned last = i + 1 < kept.size() ? static_cast<unsigned>(kept[i + 1]) - 1 : ~0U;
    if (first <= last) ::close_range(first, last, 0);
  }
}

[[noreturn]] void BecomeSupervisor(SupervisorInput input, pid_t parent) {
  // Until the state file names us, the container is our parent's: should it be killed, nothing may go on.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitFailed);
  ::setsid();
  CloseAllBut(input);
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  ::close(null);
  (void)!::chdir("/");
  ::umask(077);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  Supervise(std::move(input), [] { ::prctl(PR_SET_PDEATHSIG, 0); });
  ::_exit(0);
}

// The user's end of it.
class Client {
 public:
  Client(const ContainerStore& store, const ContainerRecord& record, UniqueFd supervisor)
      : store_(store), record_(record), supervisor_(std::move(supervisor)) {}

  // Leaves once the container runs, with `started` as its last words.
  Result<int> Detach(const std::string& started) {
    HMVM_TRY_ASSIGN(const auto attachment, Attachment::Start(MakeOptions({})));
    auto running = supervisor_.Wait(api::WaitRequest::RUNNING);
    if (!running.has_value()) return Lost(running.error());
    if (!running->failure().empty()) return Conclude(*running);
    Warn(*running);
    HMVM_TRY(Print(started + "\n"));
    return 0;
  }

  Result<int> StayAttached(ClientStreams streams) {
    HMVM_TRY_ASSIGN(const auto attachment, Attachment::Start(MakeOptions(std::move(streams))));
    auto answer = supervisor_.Wait(api::WaitRequest::RUNNING);
    if (answer.has_value() && answer->failure().empty()) {
      Warn(*answer);
      HMVM_TRY(attachment->AttachInput());
      answer = supervisor_.Wait(api::WaitRequest::FIRST_EXIT);
    }
    switch (attachment->hang_up()) {
      case Attachment::HangUp::kDetached:
        return 0;
      case Attachment::HangUp::kOutputClosed:
        return kOutputClosed;
      case Attachment::HangUp::kNone:
        break;
    }
    attachment->JoinOutput();
    if (!answer.has_value()) return Lost(answer.error());
    return Conclude(*answer);
  }

 private:
  Attachment::Options MakeOptions(ClientStreams streams) {
    return {
        .in = std::move(streams.in),
        .out = std::move(streams.out),
        .err = std::move(streams.err),
        .terminal = record_.config.terminal,
        .detach_keys = record_.config.terminal,
        // What can't be delivered has nobody left to be delivered to.
        .on_signal = [this](int signal) { (void)supervisor_.Signal("", signal); },
        .on_resize = [this](const agent::v1::WindowSize& window) { (void)supervisor_.Resize("", window); },
        .on_hang_up = [this] { supervisor_.Close(); }};
  }

  static void Warn(const api::WaitResponse& answer) {
    for (const std::string& warning : answer.warnings()) PrintError(warning);
  }

  static int Conclude(const api::WaitResponse& answer) {
    if (!answer.failure().empty()) PrintError(answer.failure());
    return answer.exit_code();
  }

  // The supervisor is gone without a word: the state file knows what is known.
  Result<int> Lost(const Error& error) {
    const auto record = store_.Load(record_.id);
    if (record.has_value() && record->status() == Status::kStopped) return record->exit_code;
    if (record_.config.auto_remove) (void)RemoveByForce(store_, record.value_or(record_));
    return Error{0, "container '" + record_.name + "': " +
                        (record.has_value() && !record->reason.empty() ? record->reason : error.Message())};
  }

  const ContainerStore& store_;
  const ContainerRecord& record_;
  SupervisorClient supervisor_;
};

// The two ends of a stream between client and supervisor.
Result<> Connect(UniqueFd& ours, UniqueFd& theirs) {
  HMVM_TRY_ASSIGN(SocketPair pair, MakeSocketPair(SOCK_STREAM));
  ours = std::move(pair.first);
  theirs = std::move(pair.second);
  return {};
}

}  // namespace

Result<MachineFiles> OpenMachineFiles(const ContainerConfig& config, const Installation& installation,
                                      const Image& image) {
  const auto open = [](const std::string& path, const char* remedy) -> Result<UniqueFd> {
    auto file = OpenFile(path, O_RDONLY);
    if (!file.has_value()) return Error{0, file.error().Message() + remedy};
    return file;
  };
  MachineFiles files;
  files.vmm_program = installation.vmm_program;
  HMVM_TRY_ASSIGN(files.kernel,
                  open(config.kernel, "; name a guest kernel with --kernel, or build hmvm's own"));
  HMVM_TRY_ASSIGN(files.initrd,
                  open(installation.initramfs, "; it is part of hmvm: build or install it again"));
  HMVM_TRY_ASSIGN(files.rootfs, open(image.rootfs_path, "; import the image again"));
  if (::access(files.vmm_program.c_str(), X_OK) < 0) {
    return Error{0, Error{errno, "execute '" + files.vmm_program + "'"}.Message() +
                        "; it is part of hmvm: build or install it again"};
  }
  return files;
}

namespace {

struct OpenTemplate {
  TemplateKey key;
  TemplateFiles files;
};

Result<std::optional<OpenTemplate>> Open(const TemplateStore& store, const TemplateKey& key) {
  Result<std::optional<TemplateFiles>> found = store.Open(key);
  if (!found.has_value()) return found.error();
  std::optional<OpenTemplate> opened;
  if (found->has_value()) opened.emplace(OpenTemplate{key, std::move(**found)});
  return opened;
}

// One of the exact size, where somebody has built one: it is faster. Else the one that grows, built if need
// be. Nothing when somebody was quick to remove what has just been built.
Result<std::optional<OpenTemplate>> OpenOrBuild(const TemplateStore& store, const TemplateMachine& exact,
                                                const BuildGuard& guard) {
  const TemplateMachine growing = GrowingMachine(exact).value_or(exact);
  if (growing.cpus != exact.cpus || growing.memory_mib != exact.memory_mib) {
    HMVM_TRY_ASSIGN(const TemplateKey key, MakeTemplateKey(exact));
    auto found = Open(store, key);
    if (!found.has_value() || found->has_value()) return found;
  }
  HMVM_TRY_ASSIGN(const TemplateKey key, MakeTemplateKey(growing));
  auto found = Open(store, key);
  if (!found.has_value() || found->has_value()) return found;
  HMVM_TRY(BuildTemplate(store, key, guard));
  return Open(store, key);
}

}  // namespace

void AddTemplate(const Folders& folders, const ContainerConfig& config, const Installation& installation,
                 MachineFiles& files) {
  if (config.no_template) return;
  const TemplateStore store(folders.templates());
  auto found = [&]() -> Result<> {
    const uint32_t memory_mib = MemoryMib(config.memory_bytes);
    HMVM_TRY_ASSIGN(auto found,
                    OpenOrBuild(store,
                                {.vmm_program = installation.vmm_program,
                                 .kernel = config.kernel,
                                 .initramfs = installation.initramfs,
                                 .platform = config.platform,
                                 .cpus = config.cpus,
                                 .memory_mib = memory_mib},
                                {.required = config.require_guard, .audit_folder = folders.audit()}));
    if (!found.has_value()) return {};
    const TemplateKey& key = found->key;
    TemplateFiles& snapshot = found->files;
    const int memory = snapshot.memory.get();
    files.snapshot.emplace().state = std::move(snapshot.machine);
    files.snapshot->memory.push_back(std::move(snapshot.memory));
    if (key.machine.grows) {
      files.snapshot->cpus = config.cpus;
      files.snapshot->memory_mib = memory_mib;
      files.snapshot->added_bytes = AddedMemoryBytes(key.machine.memory_mib, memory_mib);
    }
    files.snapshot->known_whole = [store, id = key.id, memory] { return store.IsKnownWhole(id, memory); };
    files.snapshot->note_whole = [store, id = key.id, memory] { store.NoteWhole(id, memory); };
    files.snapshot->working_set = std::move(snapshot.working_set);
    if (!files.snapshot->working_set.valid()) {
      files.snapshot->keep_working_set = [store, id = key.id](const std::string& working_set) {
        store.KeepWorkingSet(id, working_set);
      };
    }
    files.snapshot->discard = [store, id = key.id] { (void)store.Remove(id); };
    return {};
  }();
  // While somebody else builds one, a boot takes no longer than waiting for it. And what can't be booted will
  // tell.
  if (found.has_value() || found.error().code == EAGAIN || found.error().code == ECANCELED) return;
  PrintError("the guest is booted, as there is no template: " + found.error().Message());
}

Result<> CheckTerminal(bool interactive, bool terminal) {
  if (!interactive || !terminal || ::isatty(STDIN_FILENO)) return {};
  return Error{0, "-t with -i needs a terminal on standard input: leave out -t"};
}

Result<Launch> Launch::Prepare(Attach attach, bool terminal) {
  Launch launch;
  launch.self_ = ::getpid();
  HMVM_TRY(Connect(launch.supervisor_, launch.theirs_));
  if (attach.input) HMVM_TRY(Connect(launch.streams_.in, launch.their_streams_.in));
  if (attach.output) HMVM_TRY(Connect(launch.streams_.out, launch.their_streams_.out));
  if (attach.output && !terminal) HMVM_TRY(Connect(launch.streams_.err, launch.their_streams_.err));
  launch.attached_ = attach.output;
  BlockForwardedSignals();
  return launch;
}

Result<int> Launch::Go(const ContainerStore& store, const ContainerRecord& record, MachineFiles files,
                       const std::string& started, std::optional<SnapshotContainer> resumed) && {
  SupervisorInput input{.container = {.store = store,
                                      .record = record,
                                      .files = std::move(files),
                                      .resumed = std::move(resumed),
                                      .window = WindowSizeOf(STDIN_FILENO),
                                      .client_streams = std::move(their_streams_)},
                        .client = std::move(theirs_)};
  const pid_t child = ::fork();
  if (child == 0) BecomeSupervisor(std::move(input), self_);
  if (child < 0) return Error{errno, "fork"};
  { const SupervisorInput gone = std::move(input); }  // the child's ends
  Client client(store, record, std::move(supervisor_));
  if (!attached_) return client.Detach(started);
  return client.StayAttached(std::move(streams_));
}

}  // namespace hmvm
