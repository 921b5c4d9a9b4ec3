#include "runtime/cli/options/resources.h"

#include "runtime/cli/options/shared.h"
#include "runtime/container/resources.h"

namespace hmvm {
namespace {

Take IntoRates(const char* option, bool bytes, std::vector<DeviceRate>& rates) {
  return [option, bytes, &rates](const std::string& typed) -> Result<> {
    const auto parse = [bytes](const std::string& text) { return ParseDeviceRate(text, bytes); };
    return Parsed(option, parse, rates.emplace_back())(typed);
  };
}

}  // namespace

void AddResources(Arguments& arguments, Resources& resources) {
  arguments.Option("--cpu-shares", "0",
                   "Weight against the 1024 of others when time is short: 2 to 262144; 0 for the same",
                   Parsed("--cpu-shares", ParseCpuShares, resources.cpu_shares));
  arguments.Option("--cpuset-cpus", "", "The host's processors to run on: 0-2,5 (default: all)",
                   [&resources](const std::string& typed) -> Result<> {
                     std::vector<uint32_t> cpus;
                     HMVM_TRY(Parsed("--cpuset-cpus", ParseCpuset, cpus)(typed));
                     resources.cpuset_cpus = typed;
                     return {};
                   });
  arguments.Option(
      "--memory-swap", "0",
      "Memory and swap together. The guest has no swap: what is more than --memory may be swapped out "
      "by the host; the same as --memory: nothing may; -1 or 0: all",
      Parsed("--memory-swap", ParseMemorySwap, resources.memory_swap_bytes));
  arguments.Option("--pids-limit", "-1", "Most processes and threads at a time; -1 sets no limit",
                   Parsed("--pids-limit", ParsePidsLimit, resources.pids_limit));
  arguments.List("--device-read-bps", "Bytes a second: /dev/vda:1mb for the image, the one disk",
                 IntoRates("--device-read-bps", true, resources.device_read_bps));
  arguments.List("--device-write-bps", "The same for writing",
                 IntoRates("--device-write-bps", true, resources.device_write_bps));
  arguments.List("--device-read-iops", "Operations a second: /dev/vda:100",
                 IntoRates("--device-read-iops", false, resources.device_read_iops));
  arguments.List("--device-write-iops", "The same for writing",
                 IntoRates("--device-write-iops", false, resources.device_write_iops));
}

}  // namespace hmvm
