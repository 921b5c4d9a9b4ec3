// `hmvm exec`: the supervisor runs the command, our streams go straight to the guest.
#include <signal.h>
#include <unistd.h>

#include <future>

#include "runtime/cli/attachment.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/running.h"
#include "runtime/container/process_config.h"
#include "runtime/supervisor/container_run.h"
#include "runtime/supervisor/streams.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;

constexpr int kOutputClosed = 128 + SIGPIPE;
constexpr int kContainerEnded = 128 + SIGKILL;

Result<api::ExecRequest> MakeRequest(const ContainerRecord& record, const ExecOptions& options) {
  ContainerConfig config = record.config;
  config.args = options.command;
  for (const std::string& variable : options.env) HMVM_TRY(AddEnvArgument(variable, config.env));
  if (!options.working_dir.empty()) config.working_dir = options.working_dir;
  if (!options.user.empty()) config.user = options.user;
  config.terminal = options.terminal;
  if (options.privileged) Unconfine(config.confinement);
  api::ExecRequest request;
  request.set_exec_id("exec-" + std::to_string(NewStreamId()));
  *request.mutable_process() = MakeAgentProcess(config, WindowSizeOf(STDIN_FILENO));
  if (options.interactive) request.set_stdin_stream(NewStreamId());
  request.set_stdout_stream(NewStreamId());
  if (!options.terminal) request.set_stderr_stream(NewStreamId());
  return request;
}

Result<UniqueFd> ConnectIfAny(const std::string& run_folder, uint64_t stream_id) {
  if (stream_id == 0) return UniqueFd();
  return ConnectStream(run_folder, stream_id);
}

int CodeOf(const Error& error) {
  switch (error.code) {
    case ENOENT:
      return kExitNotFound;
    case EACCES:
    case EINVAL:
      return kExitCannotExecute;
    case ECONNRESET:
      return kContainerEnded;
    default:
      return kExitFailed;
  }
}

}  // namespace

Result<int> Execute(const Folders& folders, const ExecOptions& options) {
  if (options.interactive && options.terminal && !::isatty(STDIN_FILENO)) {
    return Error{0, "-t with -i needs a terminal on standard input: leave out -t"};
  }
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(options.container));
  if (!record.live()) return Error{0, "container '" + record.name + "' is not running"};
  HMVM_TRY_ASSIGN(const api::ExecRequest request, MakeRequest(record, options));
  BlockForwardedSignals();
  HMVM_TRY_ASSIGN(auto connected, ConnectToLive(store, record));
  if (!connected.has_value() || !connected->Wait(api::WaitRequest::RUNNING).has_value()) {
    return Error{0, "container '" + record.name + "' has ended"};
  }
  // Nobody would answer for the streams.
  HMVM_TRY_ASSIGN(const ContainerRecord now, store.Load(record.id));
  if (now.status() == Status::kPaused || now.status() == Status::kPausing) {
    return Error{0, "container '" + now.name + "' is paused; `hmvm resume " + now.name + "` first"};
  }
  if (now.status() == Status::kRestarting) {
    return Error{0, "container '" + now.name + "' is restarting: wait until it runs"};
  }
  SupervisorClient& supervisor = *connected;

  // The process starts while its streams are being connected.
  auto ended = std::async(std::launch::async, [&] { return supervisor.Exec(request); });
  const std::string run_folder = store.RunFolder(record.id);
  auto attached = [&]() -> Result<std::unique_ptr<Attachment>> {
    Attachment::Options attachment;
    HMVM_TRY_ASSIGN(attachment.in, ConnectIfAny(run_folder, request.stdin_stream()));
    HMVM_TRY_ASSIGN(attachment.out, ConnectIfAny(run_folder, request.stdout_stream()));
    HMVM_TRY_ASSIGN(attachment.err, ConnectIfAny(run_folder, request.stderr_stream()));
    attachment.terminal = options.terminal;
    attachment.on_signal = [&](int signal) { (void)supervisor.Signal(request.exec_id(), signal); };
    attachment.on_resize = [&](const agent::v1::WindowSize& window) {
      (void)supervisor.Resize(request.exec_id(), window);
    };
    attachment.on_hang_up = [&] { supervisor.Close(); };
    HMVM_TRY_ASSIGN(auto started, Attachment::Start(std::move(attachment)));
    HMVM_TRY(started->AttachInput());
    return started;
  }();
  if (!attached.has_value()) supervisor.Close();
  const Result<api::ExecResponse> outcome = ended.get();
  if (!attached.has_value()) {
    if (const auto now = store.Load(record.id); !now.has_value() || !now->live()) {
      return Error{0, "container '" + record.name + "' has ended"};
    }
    return attached.error();
  }
  if ((*attached)->hang_up() == Attachment::HangUp::kOutputClosed) return kOutputClosed;
  if (!outcome.has_value()) {
    attached->reset();  // the terminal is to be itself again for the message
    const Error& error = outcome.error();
    PrintError(error.code == ECONNRESET ? "container '" + record.name + "' has ended" : error.what);
    return CodeOf(error);
  }
  (*attached)->JoinOutput();
  return static_cast<int>(outcome->exit_status());
}

}  // namespace hmvm
