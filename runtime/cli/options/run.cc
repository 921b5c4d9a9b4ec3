#include "runtime/cli/options/run.h"

#include "runtime/cli/options/confinement.h"
#include "runtime/cli/options/health.h"
#include "runtime/cli/options/resources.h"
#include "runtime/cli/options/shared.h"
#include "runtime/container/process_config.h"

namespace hmvm {
namespace {

void AddStopSignal(Arguments& arguments, RunOptions& run) {
  arguments.Option("--stop-signal", run.stop_signal,
                   "What `stop` sends first (default: the image's, or TERM)");
  arguments.AddCheck([&run]() -> Result<> {
    if (!run.stop_signal.empty()) HMVM_TRY(ParseSignal(run.stop_signal));
    return {};
  });
}

void AddRestartPolicy(Arguments& arguments, RunOptions& run) {
  arguments.Option("--restart", "no",
                   "Start it again when it has ended: no, on-failure[:N], always or unless-stopped",
                   [&run](const std::string& typed) -> Result<> {
                     HMVM_TRY_ASSIGN(run.restart_policy, ParseRestartPolicy(typed));
                     return {};
                   });
}

Result<> CheckForContradiction(const RunOptions& run) {
  if (run.remove && run.restart_policy != RestartPolicy{}) {
    return Error{0, "--rm and --restart contradict each other: one that is removed can't start again"};
  }
  return {};
}

void AddContainerOptions(Arguments& arguments, RunOptions& run) {
  arguments.WordsBehind("IMAGE", run.image, nullptr, run.command);
  arguments.Flag("--rm", run.remove, "Remove the container when it has ended");
  arguments.Flag("-i,--interactive", run.interactive, "Pass standard input on");
  arguments.Flag("-t,--tty", run.terminal, "Give the command a terminal");
  arguments.Option("--name", run.name, "A name for the container");
  arguments.List("-e,--env", run.env, "Set a variable: NAME=VALUE, or NAME to hand on ours");
  arguments.List("--env-file", run.env_files, "Set the variables that a file lists, a line each");
  arguments.Option("-w,--workdir", run.working_dir, "Working directory of the command");
  arguments.Option("-u,--user", run.user, "User: NAME|UID[:GROUP|GID]");
  arguments.Option("--hostname", run.hostname, "Host name (default: the beginning of the id)");
  arguments.Option("--entrypoint", run.entrypoint, "Run this instead of the image's entrypoint");
  arguments.Flag("--read-only", run.read_only, "Make the root file system read-only");
  AddConfinement(arguments, run.confinement, run.security_profile);
  AddMachine(arguments, run, &run.resources.cpu_quota_us);
  arguments.Option("--seccomp", run.seccomp,
                   "A system call that the VMM never makes: kill ends it; log, off: for development of hmvm");
  AddResources(arguments, run.resources);
  arguments.Flag("--no-template", run.no_template,
                 "Boot the guest in place of starting it from a template; see `hmvm template --help`");
  arguments.Flag("--require-guard", run.require_guard,
                 "Do not run without the eBPF guard; see `hmvm guard --help`");
  AddStopSignal(arguments, run);
  AddRestartPolicy(arguments, run);
  AddHealth(arguments, run.health);
  arguments.AddCheck([&run] { return CheckForContradiction(run); });
}

}  // namespace

void AddRun(CommandGroup& commands) {
  auto run = commands.Add<RunOptions>(
      {.name = "run",
       .description = "Run a command in a new container",
       .usage = "run [OPTIONS] IMAGE [COMMAND...]",
       .examples = "  hmvm run --rm busybox uname -r\n"
                   "  hmvm run -it --rm busybox                   a shell; Ctrl-P Ctrl-Q detaches\n"
                   "  hmvm run -d --name web -m 512m busybox httpd -f\n"
                   "  echo text | hmvm run -i --rm busybox wc -c\n"
                   "  hmvm run --rm -e MODE=test -w /tmp -u nobody busybox env"});
  run.Flag("-d,--detach", run->detach, "Print the container's id and leave it running");
  AddContainerOptions(run, *run);
}

void AddCreate(CommandGroup& commands) {
  auto create = commands.Add<CreateOptions>(
      {.name = "create",
       .description = "Make a container without starting it",
       .usage = "create [OPTIONS] IMAGE [COMMAND...]",
       .examples = "  hmvm create --name web -m 512m busybox httpd -f; hmvm start web\n"
                   "  hmvm create -it --name shell busybox; hmvm start -ai shell"});
  AddContainerOptions(create, *create);
}

}  // namespace hmvm
