// Where the time of a start goes: `hmvm run` from a template beside one that boots, phase by phase, and the
// whole of `run true` beside runc and runsc, in interleaved rounds.
#include <cstdio>

#include <gflags/gflags.h>
#include <nlohmann/json.hpp>

#include "bench/measure.h"
#include "bench/runtimes.h"
#include "bench/svg.h"

DEFINE_uint32(count, 20, "runs of each");
DEFINE_string(svg, "", "file for a picture of the phases");

namespace hmvm::bench {
namespace {

constexpr double kNsPerMs = 1e6;

struct Phase {
  const char* name;
  const char* end;  // a counter of `hmvm inspect`; empty: the end of `hmvm run -d`
};
// In their order in time: each begins where the one before ends, the first with the command.
constexpr Phase kPhases[] = {{"command, state files, VMM forked", "start.vmm_started_ns"},
                             {"VMM to the first instruction", "start.first_instruction_ns"},
                             {"guest until its agent answers", "start.agent_answered_ns"},
                             {"root, namespaces", "start.container_made_ns"},
                             {"clock, streams, process", "start.process_started_ns"},
                             {"told, command ends", ""}};

struct Way {
  const char* name;
  Command options;
  std::vector<Series> phases;
};

void RunDetached(const Runtimes& runtimes, Way& way, bool counted) {
  int64_t from_ns = MonotonicNs();
  const std::string id = LastLine(
      Must(runtimes.Hmvm() + Command{"run", "-d"} + way.options + Command{"busybox", "sleep", "1000"}));
  const int64_t end_ns = MonotonicNs();
  const auto inspected = nlohmann::json::parse(Must(runtimes.Hmvm() + Command{"inspect", id}));
  Must(runtimes.Hmvm() + Command{"rm", "-f", id});
  if (!counted) return;
  for (size_t i = 0; i < std::size(kPhases); ++i) {
    const int64_t to_ns =
        *kPhases[i].end == 0 ? end_ns : inspected.at(0).at("counters").at(kPhases[i].end).get<int64_t>();
    way.phases[i].Add(static_cast<double>(to_ns - from_ns) / kNsPerMs);
    from_ns = to_ns;
  }
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
    for (Way& way : ways) RunDetached(runtimes, way, /*counted=*/i > 0);
  }
  std::vector<StackedBar> bars;
  for (const Way& way : ways) {
    std::printf("hmvm run -d, %s\n", way.name);
    std::vector<const Series*> rows;
    bars.push_back({way.name, {}});
    for (size_t i = 0; i < way.phases.size(); ++i) {
      rows.push_back(&way.phases[i]);
      bars.back().parts.emplace_back(kPhases[i].name, way.phases[i].Median());
    }
    PrintTable(rows);
    std::printf("\n");
  }
  if (!FLAGS_svg.empty()) WriteStackedBars(FLAGS_svg, "hmvm run -d: medians of each phase", "ms", bars);
}

void MeasureWhole(const Runtimes& runtimes) {
  struct Contender {
    Series wall;
    Command command;
  };
  std::vector<Contender> contenders;
  const Command bundle = {"run", "--bundle", runtimes.bundle(), runtimes.id()};
  contenders.push_back(
      {Series("hmvm run --rm", "ms"), runtimes.Hmvm() + Command{"run", "--rm", "busybox", "true"}});
  contenders.push_back({Series("hmvm run --rm --no-template", "ms"),
                        runtimes.Hmvm() + Command{"run", "--rm", "--no-template", "busybox", "true"}});
  if (const Command runc = runtimes.Runc(); !runc.empty())
    contenders.push_back({Series("runc run", "ms"), runc + bundle});
  if (const Command runsc = runtimes.Runsc(); !runsc.empty()) {
    contenders.push_back({Series("runsc run", "ms"), runsc + bundle});
  }
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("whole, round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (Contender& contender : contenders) {
      const int64_t start_ns = MonotonicNs();
      Must(contender.command);
      // The first round fills caches, builds the template, and is not counted.
      if (i > 0) contender.wall.Add(static_cast<double>(MonotonicNs() - start_ns) / kNsPerMs);
    }
  }
  std::printf("from the command's start to its end, 'true' of the busybox image\n");
  std::vector<const Series*> rows;
  for (const Contender& contender : contenders) rows.push_back(&contender.wall);
  PrintTable(rows);
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/startup");
  const std::string layout =
      LastLine(Must({HMVM_SOURCE_DIR "/images/make-busybox", "-o", HMVM_BUILD_DIR "/bench"}));
  static const Runtimes runtimes;
  runtimes.Prepare(layout, "busybox", R"(["true"])");
  MeasurePhases(runtimes);
  MeasureWhole(runtimes);
}

}  // namespace hmvm::bench
