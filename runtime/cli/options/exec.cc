#include "runtime/cli/options/exec.h"

#include "runtime/cli/options/command_tree.h"

namespace hmvm {

void AddExec(CommandGroup& commands) {
  auto exec =
      commands.Add<ExecOptions>({.name = "exec",
                                 .description = "Run a further command in a running container",
                                 .usage = "exec [OPTIONS] CONTAINER COMMAND...",
                                 .examples = "  hmvm exec web ps\n"
                                             "  hmvm exec -it web sh\n"
                                             "  hmvm exec -e DEBUG=1 -w /srv -u www web ./tool --verbose"});
  exec.WordsBehind("CONTAINER", exec->container, "COMMAND", exec->command);
  exec.Flag("-i,--interactive", exec->interactive, "Pass standard input on");
  exec.Flag("-t,--tty", exec->terminal, "Give the command a terminal");
  exec.List("-e,--env", exec->env, "Set a variable: NAME=VALUE, or NAME to hand on ours");
  exec.Flag("--privileged", exec->privileged, "With all capabilities and system calls");
  exec.Option("-w,--workdir", exec->working_dir, "Working directory (default: the container's)");
  exec.Option("-u,--user", exec->user, "User: NAME|UID[:GROUP|GID] (default: the container's)");
}

}  // namespace hmvm
