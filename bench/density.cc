// How many idle containers fit, and what each costs: copies of one container made by `hmvm fork`, and the
// memory that only they have.
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <gflags/gflags.h>
#include <nlohmann/json.hpp>

#include "base/process.h"
#include "bench/measure.h"
#include "bench/runtimes.h"
#include "bench/svg.h"

DEFINE_uint32(count, 100, "copies at the end; also measured at 1 and 10");
DEFINE_string(svg, "", "also draw the figures into this file");
DEFINE_uint64(keep_mib, 2048, "stop when less memory than this is available on the host");

namespace hmvm::bench {
namespace {

uint64_t AvailableMib() {
  std::ifstream meminfo("/proc/meminfo");
  uint64_t kib = 0;
  for (std::string line; std::getline(meminfo, line);) {
    if (std::sscanf(line.c_str(), "MemAvailable: %" SCNu64, &kib) == 1) break;
  }
  return kib / 1024;
}

// Of one process, in MiB: what nobody else has mapped, and that with its share of the rest.
struct Usage {
  double private_mib = 0;
  double proportional_mib = 0;
};

Usage UsageOf(pid_t pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  Usage usage;
  uint64_t kib = 0;
  for (std::string line; std::getline(rollup, line);) {
    if (std::sscanf(line.c_str(), "Private_Clean: %" SCNu64, &kib) == 1 ||
        std::sscanf(line.c_str(), "Private_Dirty: %" SCNu64, &kib) == 1) {
      usage.private_mib += static_cast<double>(kib) / 1024;
    } else if (std::sscanf(line.c_str(), "Pss: %" SCNu64, &kib) == 1) {
      usage.proportional_mib += static_cast<double>(kib) / 1024;
    }
  }
  return usage;
}

// The containers end with the bench, however it ends.
struct Containers {
  const Runtimes& runtimes;
  std::vector<std::string> ids = {};
  ~Containers() {
    for (const std::string& id : ids) (void)RunCommand(runtimes.Hmvm() + Command{"rm", "-f", id}).has_value();
  }
};

// Why the host bears no more; empty: all were made.
std::string Fork(Containers& containers, size_t count) {
  const auto forked = RunCommand(containers.runtimes.Hmvm() +
                                 Command{"fork", "-n", std::to_string(count), containers.ids.front()});
  if (!forked.has_value()) Fail(forked.error().Message());
  std::istringstream output(forked->output);
  for (std::string line; std::getline(output, line);) {
    if (line.starts_with("hmvm: ")) return line;
    containers.ids.push_back(line);
  }
  return "";
}

// The copies made so far, all but the origin.
StackedBar Report(const Containers& containers, uint64_t available_before_mib, double fork_ms) {
  Series vmm("", "MiB"), vmm_proportional("", "MiB"), supervisor("", "MiB");
  for (size_t i = 1; i < containers.ids.size(); ++i) {
    const auto inspected =
        nlohmann::json::parse(Must(containers.runtimes.Hmvm() + Command{"inspect", containers.ids[i]})).at(0);
    const Usage of_vmm = UsageOf(inspected.at("vmm_pid").get<pid_t>());
    vmm.Add(of_vmm.private_mib);
    vmm_proportional.Add(of_vmm.proportional_mib);
    supervisor.Add(UsageOf(inspected.at("supervisor_pid").get<pid_t>()).private_mib);
  }
  const auto copies = static_cast<double>(vmm.count());
  const double taken_mib = static_cast<double>(available_before_mib) - static_cast<double>(AvailableMib());
  std::printf("| %.0f | %.0f ms | %.1f MiB | %.1f MiB | %.1f MiB | %.1f MiB |\n", copies, fork_ms,
              vmm.Median(), vmm_proportional.Median(), supervisor.Median(), taken_mib / copies);
  return {.name = "of " + std::to_string(vmm.count()),
          .parts = {{"VMM and guest, private", vmm.Median()},
                    {"VMM and guest, share of what is common", vmm_proportional.Median() - vmm.Median()},
                    {"supervisor, private", supervisor.Median()}}};
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/density: copies of an idle container of 256 MiB");
  const std::string layout =
      LastLine(Must({HMVM_SOURCE_DIR "/images/make-busybox", "-o", HMVM_BUILD_DIR "/bench"}));
  static const Runtimes runtimes;
  runtimes.Prepare(layout, "busybox", R"(["true"])");
  static Containers containers{runtimes};
  containers.ids.push_back(
      LastLine(Must(runtimes.Hmvm() + Command{"run", "-d", "busybox", "sleep", "1000000"})));
  const uint64_t available_mib = AvailableMib();
  std::printf(
      "| copies | time of one | VMM, private | VMM, proportional | supervisor, private | host, each |\n"
      "| --- | --- | --- | --- | --- | --- |\n");
  std::vector<StackedBar> bars;
  std::string end;
  for (const size_t wanted : {size_t{1}, size_t{10}, size_t{FLAGS_count}}) {
    const size_t have = containers.ids.size() - 1;
    if (wanted <= have) continue;
    const int64_t start_ns = MonotonicNs();
    while (containers.ids.size() - 1 < wanted && end.empty()) {
      Progress(std::to_string(containers.ids.size() - 1) + " copies of " + std::to_string(FLAGS_count));
      end = Fork(containers, std::min<size_t>(wanted - (containers.ids.size() - 1), 10));
      if (AvailableMib() < FLAGS_keep_mib) end = "what --keep_mib leaves free is reached";
    }
    const size_t made = containers.ids.size() - 1 - have;
    if (made == 0) break;
    bars.push_back(Report(containers, available_mib,
                          static_cast<double>(MonotonicNs() - start_ns) / 1e6 / static_cast<double>(made)));
  }
  if (!end.empty()) std::printf("\nThe host bears no more: %s\n", end.c_str());
  if (!FLAGS_svg.empty())
    WriteStackedBars(FLAGS_svg, "Memory of one copy of an idle container, median", "MiB", bars);
}

}  // namespace hmvm::bench
