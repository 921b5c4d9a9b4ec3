// Where the time of a container's life goes: `hmvm run` from a template beside one that boots, phase by
// phase; the whole of `run true` beside runc and runsc; and what each single command takes. All in
// interleaved rounds.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include <gflags/gflags.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/process.h"
#include "bench/hello.h"
#include "bench/measure.h"
#include "bench/runtimes.h"
#include "bench/svg.h"

DEFINE_uint32(count, 20, "runs of each");
DEFINE_string(svg, "", "file for a picture of the phases");
DEFINE_string(whole_svg, "", "file for a picture of whole commands");

namespace hmvm::bench {
namespace {

constexpr double kNsPerMs = 1e6;

struct Phase {
  const char* name;
  const char* end;  // a counter of `hmvm inspect`; empty: seen from outside
};
// In their order in time: each begins where the one before ends, the first with the command; the last one
// begins with the line that makes the process end.
constexpr std::array kPhases = {
    Phase{"command, image, state files, fork", "start.vmm_started_ns"},
    Phase{"VMM's process", "start.vmm_main_ns"},
    Phase{"restore or set-up, to the first instruction", "start.first_instruction_ns"},
    Phase{"guest until its agent answers", "start.agent_answered_ns"},
    Phase{"root, namespaces", "start.container_made_ns"},
    Phase{"clock, streams, process", "start.process_started_ns"},
    Phase{"first output", ""},
    Phase{"last input to the command's end", ""}};
constexpr size_t kFirstOutput = 6;

struct Way {
  const char* name;
  Command options;
  std::vector<Series> phases;
};

template <typename T>
T OrFail(Result<T> result) {
  if (!result.has_value()) Fail(result.error().Message());
  return std::move(*result);
}

void RunAttached(const Runtimes& runtimes, Way& way, bool counted) {
  Pipe input = OrFail(MakePipe()), output = OrFail(MakePipe());
  int64_t from_ns = MonotonicNs();
  Process run = OrFail(
      Process::Start({.arguments = runtimes.Hmvm() + Command{"run", "--rm", "-i", "--name", "startup"} +
                                   way.options + Command{"busybox", "sh", "-c", "echo; read line"},
                      .fds = {{input.read.get(), 0}, {output.write.get(), 1}, {STDERR_FILENO, 2}},
                      .die_with_parent = true}));
  input.read.reset();
  output.write.reset();
  char byte = 0;
  if (::read(output.read.get(), &byte, 1) != 1) Fail("no output of a container");
  const int64_t output_ns = MonotonicNs();
  const auto inspected = nlohmann::json::parse(Must(runtimes.Hmvm() + Command{"inspect", "startup"}));
  const int64_t end_asked_ns = MonotonicNs();
  if (!WriteAll(input.write.get(), "\n").has_value()) Fail("a container's input is closed");
  if (OrFail(run.Wait()) != 0) Fail("'read line' did not end well");
  const int64_t ended_ns = MonotonicNs();
  if (!counted) return;
  for (size_t i = 0; i < kFirstOutput; ++i) {
    const auto to_ns = inspected.at(0).at("counters").at(kPhases[i].end).get<int64_t>();
    way.phases[i].Add(static_cast<double>(to_ns - from_ns) / kNsPerMs);
    from_ns = to_ns;
  }
  way.phases[kFirstOutput].Add(static_cast<double>(output_ns - from_ns) / kNsPerMs);
  way.phases[kFirstOutput + 1].Add(static_cast<double>(ended_ns - end_asked_ns) / kNsPerMs);
}

void MeasurePhases(const Runtimes& runtimes) {
  std::vector<Way> ways;
  ways.push_back({"from a template", {}, {}});
  ways.push_back({"booted", {"--no-template"}, {}});
  for (Way& way : ways) {
    for (const Phase& phase : kPhases) way.phases.emplace_back(std::string("  ") + phase.name, "ms");
  }
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("phases, round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (Way& way : ways) RunAttached(runtimes, way, /*counted=*/i > 0);
  }
  std::vector<StackedBar> bars;
  for (const Way& way : ways) {
    std::printf("hmvm run --rm -i, %s\n", way.name);
    std::vector<const Series*> rows;
    bars.push_back({way.name, {}});
    for (size_t i = 0; i < way.phases.size(); ++i) {
      rows.push_back(&way.phases[i]);
      bars.back().parts.emplace_back(kPhases[i].name, way.phases[i].Median());
    }
    PrintTable(rows);
    std::printf("\n");
  }
  if (!FLAGS_svg.empty()) WriteStackedBars(FLAGS_svg, "hmvm run: medians of each phase", "ms", bars);
}

double TimeOf(const Command& command) {
  const int64_t start_ns = MonotonicNs();
  Must(command);
  return static_cast<double>(MonotonicNs() - start_ns) / kNsPerMs;
}

void Print(const std::vector<Series>& table) {
  std::vector<const Series*> rows;
  for (const Series& series : table) rows.push_back(&series);
  PrintTable(rows);
  std::printf("\n");
}

void MeasureWhole(const Runtimes& runtimes) {
  std::vector<Series> table;
  std::vector<Command> commands;
  const auto add = [&](const char* name, Command command) {
    table.emplace_back(name, "ms");
    commands.push_back(std::move(command));
  };
  const Command bundle = {"run", "--bundle", runtimes.bundle(), runtimes.id()};
  add("hmvm run --rm", runtimes.Hmvm() + Command{"run", "--rm", "busybox", "true"});
  add("hmvm run --rm --no-template",
      runtimes.Hmvm() + Command{"run", "--rm", "--no-template", "busybox", "true"});
  if (const Command runc = runtimes.Runc(); !runc.empty()) add("runc run", runc + bundle);
  if (const Command runsc = runtimes.Runsc(); !runsc.empty()) add("runsc run", runsc + bundle);
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("whole, round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (size_t contender = 0; contender < commands.size(); ++contender) {
      const double wall_ms = TimeOf(commands[contender]);
      // The first round fills caches, builds the template, and is not counted.
      if (i > 0) table[contender].Add(wall_ms);
    }
  }
  std::printf("from the command's start to its end, 'true' of the busybox image\n");
  Print(table);
  std::vector<StackedBar> bars;
  for (const Series& series : table) bars.push_back({series.name(), {{"median", series.Median()}}});
  if (!FLAGS_whole_svg.empty())
    WriteStackedBars(FLAGS_whole_svg, "run true, from the command's start to its end", "ms", bars);
}

// What a user waits for with each command of a container's life, at 1 GiB of guest memory.
void MeasureCommands(const Runtimes& runtimes) {
  std::vector<Series> table;
  for (const char* name : {"create", "start", "pause", "resume", "stop -t 0", "rm"}) {
    table.emplace_back(std::string("hmvm ") + name, "ms");
  }
  const Command hmvm = runtimes.Hmvm();
  const std::array commands = {
      hmvm + Command{"create", "--name", "commands", "-m", "1g", "busybox", "sleep", "1000"},
      hmvm + Command{"start", "commands"},
      hmvm + Command{"pause", "commands"},
      hmvm + Command{"resume", "commands"},
      hmvm + Command{"stop", "-t", "0", "commands"},
      hmvm + Command{"rm", "commands"}};
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("commands, round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (size_t at = 0; at < commands.size(); ++at) {
      const double wall_ms = TimeOf(commands[at]);
      if (i > 0) table[at].Add(wall_ms);
    }
  }
  std::printf("whole commands, a container of 1 GiB\n");
  Print(table);
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/startup");
  const std::string layout =
      LastLine(Must({HMVM_SOURCE_DIR "/images/make-busybox", "-o", HMVM_BUILD_DIR "/bench"}));
  static const Runtimes runtimes;
  runtimes.Prepare(layout, "busybox", R"(["true"])");
  MeasureWhole(runtimes);
  MeasurePhases(runtimes);
  MeasureCommands(runtimes);
  std::vector<Series> hello;
  BootToHello(/*memory_mib=*/128, hello);
  if (!hello.empty()) Print(hello);
}

}  // namespace hmvm::bench
