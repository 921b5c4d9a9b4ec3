#include "bench/measure.h"

#include <signal.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>

namespace hmvm::bench {
namespace fs = std::filesystem;
namespace {

volatile std::sig_atomic_t ended_by = 0;  // a signal

}  // namespace

int64_t MonotonicNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

int64_t CpuTimeNs(pid_t pid) {
  int64_t sum = 0;
  std::error_code gone;
  for (const fs::directory_entry& task :
       fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    std::ifstream file(task.path() / "schedstat");
    int64_t on_cpu_ns = 0;
    if (file >> on_cpu_ns) sum += on_cpu_ns;
  }
  return sum;
}

double Series::Percentile(double percent) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::max(1.0, rank)) - 1];
}

void PrintMachine(const std::string& bench) {
  utsname kernel;
  ::uname(&kernel);
  struct sysinfo info;
  ::sysinfo(&info);
  std::string model = "unknown processor";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  std::printf("%s, %s\n", bench.c_str(), date);
  std::printf("machine: %ld x %s, %lu MiB, Linux %s, load %.2f\n\n", ::sysconf(_SC_NPROCESSORS_ONLN),
              model.c_str(), info.totalram * info.mem_unit >> 20, kernel.release,
              static_cast<double>(info.loads[0]) / (1 << SI_LOAD_SHIFT));
}

void PrintTable(const std::vector<const Series*>& table) {
  std::printf("%-44s %5s %12s %12s %12s %8s\n", "", "N", "least", "median", "p99", "ratio");
  std::map<std::string, double> first;
  for (const Series* series : table) {
    if (series->count() == 0) continue;
    const double base = first.emplace(series->unit_, series->Median()).first->second;
    std::printf("%-44s %5zu %9.2f %-2s %9.2f %-2s %9.2f %-2s %8.2f\n", series->name_.c_str(), series->count(),
                series->Percentile(0), series->unit_.c_str(), series->Median(), series->unit_.c_str(),
                series->Percentile(99), series->unit_.c_str(), base > 0 ? series->Median() / base : 0.0);
  }
}

void EndOnSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { ended_by = signal; };
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

void Progress(const std::string& text) {
  if (ended_by != 0) std::exit(128 + ended_by);
  std::fprintf(stderr, ::isatty(2) ? "\r\033[K%s" : "%s\n", text.c_str());
}

void Fail(const std::string& message) {
  std::fprintf(stderr, "bench: %s\n", message.c_str());
  std::exit(1);
}

}  // namespace hmvm::bench
