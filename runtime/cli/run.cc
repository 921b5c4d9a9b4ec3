// `hmvm run`: prepares everything that can fail early, then splits in two: the child becomes the container's
// supervisor, the parent stays with the user's terminal.
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "images/store.h"
#include "runtime/cli/attachment.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/container/process_config.h"
#include "runtime/supervisor/supervisor.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr int kOutputClosed = 128 + SIGPIPE;

// What can be told without making anything. The VMM knows the rest, such as how much memory the kernel needs.
Result<> CheckHost(const RunOptions& options) {
  const unsigned host_cpus = std::max(1U, std::thread::hardware_concurrency());
  if (options.cpus > host_cpus) {
    return Error{
        0, "--cpus " + std::to_string(options.cpus) + ": this host has only " + std::to_string(host_cpus)};
  }
  if (auto kvm = OpenFile("/dev/kvm", O_RDWR); !kvm.has_value()) {
    return Error{0, kvm.error().Message() + (kvm.error().code == EACCES || kvm.error().code == EPERM
                                                 ? "; run as root or join the group that owns it"
                                                 : "; KVM is needed: see `hmvm check`")};
  }
  return {};
}

Result<ContainerConfig> MakeConfig(const RunOptions& options, const Image& image,
                                   const Installation& installation) {
  ProcessWishes wishes{.command = options.command,
                       .entrypoint = options.entrypoint,
                       .working_dir = options.working_dir,
                       .user = options.user};
  for (const std::string& file : options.env_files) HMVM_TRY(AddEnvFile(file, wishes.env));
  for (const std::string& variable : options.env) HMVM_TRY(AddEnvArgument(variable, wishes.env));
  HMVM_TRY_ASSIGN(MergedProcess process, MergeProcess(image.config, wishes));
  ContainerConfig config;
  config.image = options.image;
  config.image_id = image.id;
  config.args = std::move(process.args);
  config.env = std::move(process.env);
  config.working_dir = std::move(process.working_dir);
  config.user = std::move(process.user);
  if (options.hostname.size() > HOST_NAME_MAX) {  // before a guest boots for it in vain
    return Error{0, "--hostname: " + std::to_string(options.hostname.size()) +
                        " bytes are too long, at most " + std::to_string(HOST_NAME_MAX)};
  }
  config.hostname = options.hostname;
  config.stop_signal = image.config.stop_signal;
  config.kernel =
      options.kernel.empty() ? installation.kernel : std::filesystem::absolute(options.kernel).string();
  config.platform = options.platform;
  config.cpus = options.cpus;
  config.memory_bytes = options.memory_bytes;
  config.terminal = options.terminal;
  config.open_stdin = options.interactive;
  config.read_only = options.read_only;
  config.auto_remove = options.remove;
  return config;
}

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

// A descriptor that the user's shell or script left open must not live as long as the container.
void CloseAllBut(const SupervisorInput& input) {
  std::vector<int> kept = {STDERR_FILENO,
                           input.files.kernel.get(),
                           input.files.initrd.get(),
                           input.files.rootfs.get(),
                           input.client.get(),
                           input.client_streams.in.get(),
                           input.client_streams.out.get(),
                           input.client_streams.err.get()};
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

  // -d: leaves once the container runs.
  Result<int> Detach() {
    HMVM_TRY_ASSIGN(const auto attachment, Attachment::Start(MakeOptions({})));
    auto running = supervisor_.Wait(api::WaitRequest::RUNNING);
    if (!running.has_value()) return Lost(running.error());
    if (!running->failure().empty()) return Conclude(*running);
    HMVM_TRY(Print(record_.id + "\n"));
    return 0;
  }

  Result<int> StayAttached(ClientStreams streams) {
    HMVM_TRY_ASSIGN(const auto attachment, Attachment::Start(MakeOptions(std::move(streams))));
    auto answer = supervisor_.Wait(api::WaitRequest::RUNNING);
    if (answer.has_value() && answer->failure().empty()) {
      HMVM_TRY(attachment->AttachInput());
      answer = supervisor_.Wait(api::WaitRequest::STOPPED);
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

Result<int> Execute(const Folders& folders, const RunOptions& options) {
  if (!options.name.empty()) HMVM_TRY(CheckContainerName(options.name));
  if (options.interactive && options.terminal && !options.detach && !::isatty(STDIN_FILENO)) {
    return Error{0, "-t with -i needs a terminal on standard input: leave out -t"};
  }
  HMVM_TRY(CheckHost(options));
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ImageStore images, ImageStore::Open(folders.images()));
  auto image = images.Find(options.image);
  if (!image.has_value()) {
    if (image.error().code != ENOENT) return image.error();
    return Error{0, "no image '" + options.image + "'; `hmvm image import PATH --name " + options.image +
                        "` makes one from a file, `hmvm images` lists all"};
  }
  HMVM_TRY_ASSIGN(ContainerConfig config, MakeConfig(options, *image, installation));
  HMVM_TRY_ASSIGN(MachineFiles files, OpenMachineFiles(config, installation, *image));
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());

  std::string id = NewContainerId();
  if (config.hostname.empty()) config.hostname = id.substr(0, 12);
  ContainerRecord record = NewContainerRecord(std::move(id), options.name, std::move(config));
  const pid_t self = ::getpid();
  record.owner = *IdentifyProcess(self);

  SupervisorInput input{.store = store,
                        .record = record,
                        .files = std::move(files),
                        .window = WindowSizeOf(STDIN_FILENO),
                        .client = {},
                        .client_streams = {}};
  UniqueFd supervisor;
  ClientStreams streams;
  HMVM_TRY(Connect(supervisor, input.client));
  if (!options.detach) {
    if (options.interactive) HMVM_TRY(Connect(streams.in, input.client_streams.in));
    HMVM_TRY(Connect(streams.out, input.client_streams.out));
    if (!options.terminal) HMVM_TRY(Connect(streams.err, input.client_streams.err));
  }
  // From here on a signal is for the container: it must not end us between its making and its start.
  BlockForwardedSignals();
  HMVM_TRY(store.Add(record));
  const pid_t child = ::fork();
  if (child == 0) BecomeSupervisor(std::move(input), self);
  if (child < 0) {
    const Error error{errno, "fork"};
    (void)store.Remove(record.id);
    return error;
  }
  { const SupervisorInput gone = std::move(input); }  // the child's ends
  Client client(store, record, std::move(supervisor));
  if (options.detach) return client.Detach();
  return client.StayAttached(std::move(streams));
}

}  // namespace hmvm
