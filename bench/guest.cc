// The same operations and commands in containers of runc, runsc and hmvm, with 1 and 2 vCPUs, in interleaved
// rounds; and what hmvm's machines and KVM count for one operation.
//   guest [NAME...]    all operations of bench/guest, or those named
// On a host whose KVM emulates ring 0, also what such a host had to offer before: --hardware_kernel FILE.
#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>

#include <gflags/gflags.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "bench/measure.h"
#include "bench/runtimes.h"

DEFINE_uint32(rounds, 5, "rounds, in each of which every container runs all operations once");
DEFINE_uint32(samples, 100, "samples of an operation in a round; few are taken of commands");
DEFINE_bool(compare, true, "also runc and runsc");
DEFINE_string(hardware_kernel, "",
              "kernel of one more container, on the platform hardware; where ring 0 is emulated it takes "
              "minutes to boot");

namespace hmvm::bench {
namespace {

constexpr char kOperations[] = "/tmp/operations";  // in the container
// Names of containers whose ratio is printed.
constexpr char kHmvm[] = "hmvm, 1 vCPU";
constexpr char kRunsc[] = "runsc";

struct Container {
  std::string name;
  Command exec;  // a command for the container follows
  Command remove;
  Command inspect = {};  // hmvm's
};

struct Containers : std::vector<Container> {
  ~Containers() {
    for (const Container& container : *this) (void)RunCommand(container.remove).has_value();
  }
};

using Counters = std::map<std::string, double>;

struct Measured {
  Series time;
  double operations = 0;
  Counters counted = {};  // during all of them
};

// Operations in the order in which they came, each with what was measured in each container.
class Results {
 public:
  Measured& At(const std::string& operation, const std::string& container) {
    const auto [found, is_new] = measured_.try_emplace(operation);
    if (is_new) operations_.push_back(operation);
    return found->second.try_emplace(container, Measured{Series(operation, "ns")}).first->second;
  }
  const std::vector<std::string>& operations() const { return operations_; }

 private:
  std::vector<std::string> operations_;
  std::map<std::string, std::map<std::string, Measured>> measured_;
};

void StartContainers(const Runtimes& runtimes, Containers& containers) {
  const std::string id = runtimes.id();
  // A detached container keeps the output that it was started with, so that must be no pipe of ours.
  const std::string log = (runtimes.bundle() / "log").string();
  const auto started = [&](const Command& command) {
    const auto result =
        RunCommand(Command{"/bin/sh", "-c", "log=$0; \"$@\" < /dev/null > \"$log\" 2>&1", log} + command);
    if (result.has_value() && result->exit_code == 0) return true;
    std::printf("left out: '%s': %s\n", command[0].c_str(), ReadFile(log).value_or("").c_str());
    return false;
  };
  if (FLAGS_compare) {
    if (const Command runc = runtimes.Runc();
        !runc.empty() && started(runc + Command{"run", "--detach", "--bundle", runtimes.bundle(), id})) {
      containers.push_back({"runc", runc + Command{"exec", id}, runc + Command{"delete", "--force", id}});
    }
    if (const Command runsc = runtimes.Runsc();
        !runsc.empty() && started(runsc + Command{"run", "--detach", "--bundle", runtimes.bundle(), id})) {
      containers.push_back({kRunsc, runsc + Command{"exec", id}, runsc + Command{"delete", "--force", id}});
    }
  }
  const Command hmvm = runtimes.Hmvm();
  const auto start_hmvm = [&](const std::string& title, const std::string& name, const Command& options) {
    if (!started(hmvm + Command{"run", "-d", "--name", name} + options +
                 Command{"debian", "sleep", "1000000"}))
      return;
    containers.push_back({title, hmvm + Command{"exec", "-i", name}, hmvm + Command{"rm", "-f", name},
                          hmvm + Command{"inspect", name}});
  };
  start_hmvm(kHmvm, "hmvm-1", {"--cpus", "1", "-m", "1g"});
  start_hmvm("hmvm, 2 vCPUs", "hmvm-2", {"--cpus", "2", "-m", "1g"});
  if (!FLAGS_hardware_kernel.empty()) {
    start_hmvm("hmvm, hardware", "hmvm-hardware",
               {"--platform", "hardware", "--kernel", FLAGS_hardware_kernel, "--no-template", "-m", "256m"});
  }
}

void CopyOperationsInto(const Container& container) {
  Must(Command{"/bin/sh", "-c", "file=$0; \"$@\" < \"$file\"", HMVM_BUILD_DIR "/bench/operations"} +
       container.exec + Command{"sh", "-c", "cat > \"$0\" && chmod 755 \"$0\"", kOperations});
}

Counters ReadCounters(const Container& container) {
  if (container.inspect.empty()) return {};
  return nlohmann::json::parse(Must(container.inspect)).at(0).at("counters").get<Counters>();
}

// One round in one container.
void RunOperations(const Container& container, const std::vector<std::string>& names, Results& results) {
  auto to = MakePipe(), from = MakePipe();
  if (!to.has_value() || !from.has_value()) Fail("can't make a pipe");
  auto process = Process::Start(
      {.arguments = container.exec + Command{kOperations, std::to_string(FLAGS_samples)} + names,
       .fds = {{to->read.get(), 0}, {from->write.get(), 1}, {2, 2}},
       .die_with_parent = true});
  if (!process.has_value()) Fail(process.error().Message());
  from->write.reset();
  FILE* const lines = ::fdopen(from->read.release(), "r");
  char* text = nullptr;
  size_t size = 0;
  Counters before;
  while (::getline(&text, &size, lines) > 0) {
    std::string line(text);
    line.pop_back();
    if (line.starts_with("ready ")) {
      Progress(container.name + ": " + line.substr(6));
      before = ReadCounters(container);
      if (::write(to->write.get(), "\n", 1) != 1) Fail("can't write to the operations");
      continue;
    }
    std::istringstream fields(line);
    std::string operation;
    double operations;
    std::getline(fields, operation, '\t');
    fields >> operations;
    Measured& measured = results.At(operation, container.name);
    measured.operations += operations;
    for (double ns; fields >> ns;) measured.time.Add(ns);
    for (const auto& [name, value] : ReadCounters(container)) measured.counted[name] += value - before[name];
  }
  std::free(text);
  std::fclose(lines);
  if (const auto status = process->Wait(); !status.has_value() || *status != 0) {
    Fail("the operations failed in " + container.name);
  }
}

// Three digits that count, in the unit of the row.
std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
  return text;
}

// As a table for docs/benchmarks.md.
void PrintTimes(Results& results, const Containers& containers) {
  const auto has = [&](const char* name) {
    return std::any_of(containers.begin(), containers.end(), [&](const auto& c) { return c.name == name; });
  };
  const bool ratio = has(kHmvm) && has(kRunsc);
  std::printf("Medians, in brackets p99.\n\n| |");
  for (const Container& container : containers) std::printf(" %s |", container.name.c_str());
  std::printf("%s\n| --- |", ratio ? " hmvm : runsc |" : "");
  for (size_t i = 0; i < containers.size() + (ratio ? 1 : 0); ++i) std::printf(" --- |");
  std::printf("\n");
  for (const std::string& operation : results.operations()) {
    // A unit in which the last, hmvm's, is a small number.
    const bool in_ms = results.At(operation, containers.back().name).time.Median() >= 1e6;
    const double unit = in_ms ? 1e6 : 1e3;
    std::printf("| %s, %s |", operation.c_str(), in_ms ? "ms" : "us");
    for (const Container& container : containers) {
      const Series& time = results.At(operation, container.name).time;
      std::printf(" %s (%s) |", Number(time.Median() / unit).c_str(),
                  Number(time.Percentile(99) / unit).c_str());
    }
    if (ratio) {
      std::printf(" %s |", Number(results.At(operation, kHmvm).time.Median() /
                                  results.At(operation, kRunsc).time.Median())
                               .c_str());
    }
    std::printf("\n");
  }
}

// What the ring3 platform counts comes first; on hardware hosts these are 0.
constexpr std::pair<const char*, const char*> kCounters[] = {
    {"guest.syscalls", "system calls"},
    {"guest.page_faults", "page faults"},
    {"guest.page_table_updates", "page table updates"},
    {"guest.flushes", "flushes asked for"},
    {"kvm.tlb_flush", "CR3 loads"},
    {"kvm.exits", "KVM's exits"},
    {"kvm.insn_emulation", "instructions interpreted"},
    {"kvm.pf_taken", "KVM's page faults"},
    {"kvm.pf_fixed", "shadow entries made"},
    {"kvm.mmu_pte_write", "writes to shadowed tables"},
    {"kvm.mmu_shadow_zapped", "shadow tables dropped"},
    {"exits.hypercall", "hypercalls to the VMM"},
    {"exits.mmio", "MMIO"},
    {"idle", "idle"},
};

// A table for each machine.
void PrintCounters(Results& results, const Containers& containers) {
  for (const Container& container : containers) {
    if (container.inspect.empty()) continue;
    std::printf("\n%s: counted for one operation, in the mean.\n\n| |", container.name.c_str());
    for (const auto& [name, words] : kCounters) std::printf(" %s |", words);
    std::printf("\n| --- |");
    for (size_t i = 0; i < std::size(kCounters); ++i) std::printf(" --- |");
    std::printf("\n");
    for (const std::string& operation : results.operations()) {
      Measured& measured = results.At(operation, container.name);
      std::printf("| %s |", operation.c_str());
      for (const auto& [name, words] : kCounters) {
        std::printf(" %s |", Number(measured.counted[name] / measured.operations).c_str());
      }
      std::printf("\n");
    }
  }
}

}  // namespace

void Main(const std::vector<std::string>& names) {
  PrintMachine("bench/guest: operations of programs in containers");
  const std::string layout = LastLine(Must({HMVM_SOURCE_DIR "/tests/images/make-debian", "programs"}));
  static const Runtimes runtimes;
  runtimes.Prepare(layout, "debian", R"(["sleep","1000000"])");
  static Containers containers;
  StartContainers(runtimes, containers);
  Results results;
  for (const Container& container : containers) CopyOperationsInto(container);
  for (unsigned round = 0; round < FLAGS_rounds; ++round) {
    for (const Container& container : containers) RunOperations(container, names, results);
  }
  PrintTimes(results, containers);
  PrintCounters(results, containers);
}

}  // namespace hmvm::bench
