#include "runtime/cli/options/life.h"

#include "runtime/cli/options/shared.h"
#include "runtime/container/process_config.h"

namespace hmvm {
namespace {

void AddTimeout(Arguments& arguments, uint32_t& timeout_s) {
  arguments.Option("-t,--time", "10", "Seconds between stop signal and SIGKILL",
                   [&timeout_s](const std::string& typed) -> Result<> {
                     const auto timeout = ParseNumber(typed);
                     if (!timeout.has_value() || *timeout > UINT32_MAX / 1000) {
                       return Error{0, "--time '" + typed + "': give a number of seconds"};
                     }
                     timeout_s = static_cast<uint32_t>(*timeout);
                     return {};
                   });
}

}  // namespace

void AddStart(CommandGroup& commands) {
  auto start = commands.Add<StartOptions>(
      {.name = "start",
       .description = "Start containers that have been made or have ended",
       .usage = "start [OPTIONS] CONTAINER...",
       .examples = "  hmvm start web db\n"
                   "  hmvm start -a web             with its output, until it ends\n"
                   "  hmvm start -ai shell          and with our input"});
  start.Flag("-a,--attach", start->attach, "Show its output and pass signals on, until it ends");
  start.Flag("-i,--interactive", start->interactive, "The same, and pass standard input on");
  AddContainers(start, start->containers);
}

void AddRestart(CommandGroup& commands) {
  auto restart = commands.Add<RestartOptions>({.name = "restart",
                                               .description = "Stop containers and start them again",
                                               .usage = "restart [OPTIONS] CONTAINER...",
                                               .examples = "  hmvm restart web\n"
                                                           "  hmvm restart -t 1 web db"});
  AddTimeout(restart, restart->timeout_s);
  AddContainers(restart, restart->containers);
}

void AddPause(CommandGroup& commands) {
  auto pause = commands.Add<PauseOptions>(
      {.name = "pause",
       .description = "Hold containers: nothing in them moves until they are resumed",
       .usage = "pause CONTAINER...",
       .examples = "  hmvm pause web"});
  AddContainers(pause, pause->containers);
}

void AddResume(CommandGroup& commands) {
  auto resume = commands.Add<ResumeOptions>(
      {.name = "resume",
       .description = "Let paused containers go on",
       .usage = "resume CONTAINER...",
       .examples = "  hmvm resume web\n"
                   "  hmvm unpause web              the same, as docker names it"});
  resume.Alias("unpause");
  AddContainers(resume, resume->containers);
}

void AddStop(CommandGroup& commands) {
  auto stop = commands.Add<StopOptions>({.name = "stop",
                                         .description = "Stop containers: the stop signal, then SIGKILL",
                                         .usage = "stop [OPTIONS] CONTAINER...",
                                         .examples = "  hmvm stop web\n"
                                                     "  hmvm stop -t 1 web db"});
  AddTimeout(stop, stop->timeout_s);
  AddContainers(stop, stop->containers);
}

void AddKill(CommandGroup& commands) {
  auto kill = commands.Add<KillOptions>(
      {.name = "kill",
       .description = "Send a signal to containers",
       .usage = "kill [OPTIONS] CONTAINER...",
       .examples = "  hmvm kill web                 SIGKILL, and waits for the end\n"
                   "  hmvm kill -s HUP web"});
  kill.Option("-s,--signal", "KILL", "Name or number",
              [&signal = kill->signal](const std::string& typed) -> Result<> {
                HMVM_TRY_ASSIGN(signal, ParseSignal(typed));
                return {};
              });
  AddContainers(kill, kill->containers);
}

void AddRm(CommandGroup& commands) {
  auto rm = commands.Add<RmOptions>({.name = "rm",
                                     .description = "Remove containers",
                                     .usage = "rm [OPTIONS] CONTAINER...",
                                     .examples = "  hmvm rm web\n"
                                                 "  hmvm rm -f $(hmvm ps -aq)     also those that run"});
  rm.Flag("-f,--force", rm->force, "End the container first, whatever its state");
  AddContainers(rm, rm->containers);
}

void AddWait(CommandGroup& commands) {
  auto wait =
      commands.Add<WaitOptions>({.name = "wait",
                                 .description = "Wait until containers end and print their exit codes",
                                 .usage = "wait CONTAINER...",
                                 .examples = "  hmvm wait web"});
  AddContainers(wait, wait->containers);
}

}  // namespace hmvm
