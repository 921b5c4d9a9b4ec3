#include "runtime/cli/options/machine.h"

#include "base/size.h"
#include "runtime/cli/options/shared.h"
#include "runtime/container/resources.h"

namespace hmvm {

void AddMachine(Arguments& arguments, MachineOptions& machine, uint64_t* cpu_quota_us) {
  arguments.Option("--cpus", "",
                   "Processors, as 2 or 0.5: so much of their time, on as many virtual ones as that takes "
                   "(default: one virtual processor, its time unlimited)",
                   [&machine, cpu_quota_us](const std::string& typed) -> Result<> {
                     uint64_t quota_us = 0;
                     HMVM_TRY(Parsed("--cpus", ParseCpuQuota, quota_us)(typed));
                     machine.cpus = CpusForQuota(quota_us);
                     if (cpu_quota_us != nullptr) *cpu_quota_us = quota_us;
                     return {};
                   });
  arguments.Option("-m,--memory", "256m",
                   "Memory of the whole guest, its kernel and writable files included; suffixes b, k, m, g",
                   Parsed("--memory", ParseSize, machine.memory_bytes));
  arguments.Option("--kernel", machine.kernel, "Guest kernel: a vmlinux or bzImage (default: hmvm's own)");
  arguments.Option("--platform", machine.platform, "auto, hardware or ring3; see `hmvm check`");
  arguments.AddCheck([&machine]() -> Result<> {
    if (machine.platform != "auto" && machine.platform != "hardware" && machine.platform != "ring3") {
      return Error{0, "--platform '" + machine.platform + "': there are auto, hardware and ring3"};
    }
    return {};
  });
}

}  // namespace hmvm
