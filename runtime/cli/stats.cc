// `hmvm stats` and `hmvm top`: what containers use, by their guests' account and by the host's.
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/escape.h"
#include "base/size.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/output.h"
#include "runtime/cli/running.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

namespace api = supervisor::v1;
using nlohmann::ordered_json;

struct Sample {
  ContainerRecord record;
  api::StatsResponse stats;
};

Error WhyNot(const ContainerRecord& record, const Error& error) {
  if (error.code == ETIMEDOUT) return Error{0, "container '" + record.name + "' does not answer"};
  return Error{0, error.what};
}

Result<Sample> Measure(const ContainerStore& store, const ContainerRecord& record) {
  HMVM_TRY_ASSIGN(SupervisorClient client, ConnectToRunning(store, record));
  auto stats = client.Stats();
  if (!stats.has_value()) return WhyNot(record, stats.error());
  return Sample{record, std::move(*stats)};
}

// Of the containers named, or of all that run. One that is named must run; of the others those that end
// meanwhile are left out.
Result<std::vector<Sample>> MeasureAll(const ContainerStore& store, const std::vector<std::string>& names) {
  std::vector<Sample> samples;
  for (const std::string& name : names) {
    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
    HMVM_TRY_ASSIGN(Sample sample, Measure(store, record));
    samples.push_back(std::move(sample));
  }
  if (!names.empty()) return samples;
  HMVM_TRY_ASSIGN(const auto entries, store.List());
  for (const ContainerStore::Entry& entry : entries) {
    if (!HasSupervisor(entry.record.status())) continue;
    if (auto sample = Measure(store, entry.record); sample.has_value()) samples.push_back(std::move(*sample));
  }
  return samples;
}

// Of one processor; nothing where a counter began anew between the two.
std::optional<double> Percent(uint64_t before, uint64_t after, uint64_t before_ns, uint64_t after_ns) {
  if (after < before || after_ns <= before_ns) return std::nullopt;
  return 100.0 * static_cast<double>(after - before) / static_cast<double>(after_ns - before_ns);
}

struct Usage {
  std::optional<double> cpu_percent;
  std::optional<double> host_cpu_percent;
};

Usage Compare(const std::vector<Sample>& before, const Sample& now) {
  for (const Sample& old : before) {
    if (old.record.id != now.record.id) continue;
    const api::StatsResponse &a = old.stats, &b = now.stats;
    Usage usage;
    usage.host_cpu_percent = Percent(a.host_cpu_ns(), b.host_cpu_ns(), a.monotonic_ns(), b.monotonic_ns());
    if (a.has_guest() && b.has_guest()) {
      usage.cpu_percent = Percent(a.guest().cpu_ns(), b.guest().cpu_ns(), a.monotonic_ns(), b.monotonic_ns());
    }
    return usage;
  }
  return {};
}

std::string PercentText(const std::optional<double>& percent) {
  if (!percent.has_value()) return "--";
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f%%", *percent);
  return text;
}

std::string TableOf(const std::vector<Sample>& before, const std::vector<Sample>& now) {
  Table table({"CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I/O", "PIDS",
               "HOST CPU %", "HOST MEM"});
  for (const Sample& sample : now) {
    const Usage usage = Compare(before, sample);
    const agent::v1::StatsResponse& guest = sample.stats.guest();
    const bool known = sample.stats.has_guest();
    const double memory = 100.0 * static_cast<double>(guest.memory_bytes()) /
                          static_cast<double>(std::max<uint64_t>(guest.memory_limit_bytes(), 1));
    table.Add(
        {sample.record.id.substr(0, 12), sample.record.name, PercentText(usage.cpu_percent),
         known ? FormatSize(guest.memory_bytes()) + " / " + FormatSize(guest.memory_limit_bytes()) : "--",
         PercentText(known ? std::optional(memory) : std::nullopt),
         known ? FormatSize(guest.read_bytes()) + " / " + FormatSize(guest.written_bytes()) : "--",
         known ? std::to_string(guest.pids()) : "--", PercentText(usage.host_cpu_percent),
         FormatSize(sample.stats.host_memory_bytes())});
  }
  return table.Format();
}

// A line each.
std::string JsonOf(const std::vector<Sample>& before, const std::vector<Sample>& now) {
  const auto number = [](const std::optional<double>& value) -> ordered_json {
    if (!value.has_value()) return nullptr;
    return *value;
  };
  std::string lines;
  for (const Sample& sample : now) {
    const Usage usage = Compare(before, sample);
    const agent::v1::StatsResponse& guest = sample.stats.guest();
    ordered_json line = {{"id", sample.record.id},
                         {"name", sample.record.name},
                         {"cpu_percent", number(usage.cpu_percent)},
                         {"host_cpu_percent", number(usage.host_cpu_percent)},
                         {"host_cpu_ns", sample.stats.host_cpu_ns()},
                         {"host_memory_bytes", sample.stats.host_memory_bytes()}};
    if (sample.stats.has_guest()) {
      line["cpu_ns"] = guest.cpu_ns();
      line["memory_bytes"] = guest.memory_bytes();
      line["memory_limit_bytes"] = guest.memory_limit_bytes();
      line["pids"] = guest.pids();
      line["read_bytes"] = guest.read_bytes();
      line["written_bytes"] = guest.written_bytes();
    }
    lines += line.dump() + "\n";
  }
  return lines;
}

// "1:02:03": hours, minutes, seconds of processor time, as ps has it.
std::string CpuTime(uint64_t cpu_ns) {
  const auto seconds = static_cast<unsigned long long>(cpu_ns / 1'000'000'000);
  char text[48];
  std::snprintf(text, sizeof(text), "%02llu:%02llu:%02llu", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return text;
}

}  // namespace

Result<int> Execute(const Folders& folders, const StatsOptions& options) {
  constexpr timespec kBetween = {.tv_sec = 1, .tv_nsec = 0};
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(std::vector<Sample> before, MeasureAll(store, options.containers));
  const bool redraw = !options.json && !options.no_stream && ::isatty(STDOUT_FILENO);
  for (;;) {
    ::nanosleep(&kBetween, nullptr);
    HMVM_TRY_ASSIGN(std::vector<Sample> now, MeasureAll(store, options.containers));
    const std::string home_and_clear = redraw ? "\033[H\033[J" : "";
    HMVM_TRY(Print(home_and_clear + (options.json ? JsonOf(before, now) : TableOf(before, now))));
    if (options.no_stream) return 0;
    before = std::move(now);
  }
}

Result<int> Execute(const Folders& folders, const TopOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(options.container));
  HMVM_TRY_ASSIGN(SupervisorClient client, ConnectToRunning(store, record));
  const auto list = client.ListProcesses();
  if (!list.has_value()) return WhyNot(record, list.error());
  Table table({"UID", "PID", "PPID", "RSS", "TIME", "CMD"});
  ordered_json processes = ordered_json::array();
  for (const agent::v1::ProcessInfo& info : list->processes()) {
    table.Add({std::to_string(info.uid()), std::to_string(info.pid()), std::to_string(info.parent_pid()),
               FormatSize(info.resident_bytes()), CpuTime(info.cpu_ns()), Escape(info.command(), 200)});
    processes.push_back({{"uid", info.uid()},
                         {"pid", info.pid()},
                         {"parent_pid", info.parent_pid()},
                         {"resident_bytes", info.resident_bytes()},
                         {"cpu_ns", info.cpu_ns()},
                         {"command", info.command()}});
  }
  HMVM_TRY(Print(options.json ? FormatJson(processes) : table.Format()));
  return 0;
}

}  // namespace hmvm
