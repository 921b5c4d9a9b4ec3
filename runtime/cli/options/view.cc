#include "runtime/cli/options/view.h"

#include "base/clock.h"
#include "runtime/cli/options/shared.h"
#include "runtime/container/duration.h"

namespace hmvm {

void AddPs(CommandGroup& commands) {
  auto ps =
      commands.Add<PsOptions>({.name = "ps",
                               .description = "List containers",
                               .usage = "ps [OPTIONS]",
                               .examples = "  hmvm ps\n"
                                           "  hmvm ps -a                    those that have ended, too\n"
                                           "  hmvm rm $(hmvm ps -aq)\n"
                                           "  hmvm ps -a --format json | jq '.[].name'"});
  ps.Flag("-a,--all", ps->all, "All, not only those that run");
  ps.Flag("-q,--quiet", ps->quiet, "Ids only");
  AddFormat(ps, ps->json);
}

void AddLogs(CommandGroup& commands) {
  auto logs =
      commands.Add<LogsOptions>({.name = "logs",
                                 .description = "Show what a container has written",
                                 .usage = "logs [OPTIONS] CONTAINER",
                                 .examples = "  hmvm logs web\n"
                                             "  hmvm logs -f --tail 20 web\n"
                                             "  hmvm logs web 2>/dev/null     its standard output only"});
  logs.Flag("-f,--follow", logs->follow, "Go on until the container ends");
  logs.Option("-n,--tail", "all", "Only the last lines",
              [&tail = logs->tail](const std::string& typed) -> Result<> {
                if (typed == "all") return {};
                tail = ParseNumber(typed);
                if (!tail.has_value()) {
                  return Error{0, "--tail '" + typed + "': give a number of lines or 'all'"};
                }
                return {};
              });
  AddContainer(logs, logs->container);
}

void AddEvents(CommandGroup& commands) {
  auto events = commands.Add<EventsOptions>(
      {.name = "events",
       .description = "Show what has happened to containers, a line of JSON each",
       .usage = "events [OPTIONS]",
       .examples = "  hmvm events --since 10m\n"
                   "  hmvm events -f --filter container=web --filter event=stopped\n"
                   "  hmvm events -f | jq -r '[.time, .name, .action] | @tsv'"});
  events.Flag("-f,--follow", events->follow, "Go on with what happens");
  events.Option("--since", "", "Only from then on: a time, or how long ago",
                [&since_unix_ns = events->since_unix_ns](const std::string& typed) -> Result<> {
                  HMVM_TRY_ASSIGN(since_unix_ns, ParseMoment(typed, NowUnixNs()));
                  return {};
                });
  events.List("--filter", "Only container=NAME, image=NAME, event=ACTION",
              [&filter = events->filter](const std::string& typed) { return filter.Add(typed); });
}

void AddStats(CommandGroup& commands) {
  auto stats = commands.Add<StatsOptions>({.name = "stats",
                                           .description = "Show what containers use, once a second",
                                           .usage = "stats [OPTIONS] [CONTAINER...]",
                                           .examples = "  hmvm stats                    all that run\n"
                                                       "  hmvm stats --no-stream web db\n"
                                                       "  hmvm stats --format json web | jq .memory_bytes"});
  stats.Flag("--no-stream", stats->no_stream, "Once only");
  AddFormat(stats, stats->json);
  stats.OptionalWords("CONTAINER", stats->containers, "Names or ids");
}

void AddTop(CommandGroup& commands) {
  auto top = commands.Add<TopOptions>({.name = "top",
                                       .description = "List the processes of a container",
                                       .usage = "top [OPTIONS] CONTAINER",
                                       .examples = "  hmvm top web\n"
                                                   "  hmvm top --format json web"});
  AddFormat(top, top->json);
  AddContainer(top, top->container);
}

void AddInspect(CommandGroup& commands) {
  auto inspect = commands.Add<InspectOptions>({.name = "inspect",
                                               .description = "Show all that is known of containers, as JSON",
                                               .usage = "inspect CONTAINER...",
                                               .examples = "  hmvm inspect web\n"
                                                           "  hmvm inspect web | jq -r '.[0].status'"});
  AddContainers(inspect, inspect->containers);
}

}  // namespace hmvm
