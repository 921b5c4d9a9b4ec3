#include "tests/support/machine.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include "base/file.h"

namespace hmvm::test {

Result<Machine> Machine::Start(const Options& options) {
  constexpr int kAgentFd = 3, kControlFd = 4;
  HMVM_TRY_ASSIGN(SocketPair agent, MakeSocketPair(SOCK_STREAM));
  HMVM_TRY_ASSIGN(SocketPair control, MakeSocketPair(SOCK_STREAM));
  std::string disks;
  for (const std::string& disk : options.disks) disks += (disks.empty() ? "" : ",") + disk;
  Process::Options start{
      .arguments = {options.vmm, "--kernel=" + options.kernel.string(),
                    "--initrd=" + options.initramfs.string(), "--platform=" + options.platform,
                    "--cpus=" + std::to_string(options.cpus),
                    "--memory_mib=" + std::to_string(options.memory_mib),
                    "--agent=fd:" + std::to_string(kAgentFd), "--control=fd:" + std::to_string(kControlFd)},
      .fds = {{agent.second.get(), kAgentFd}, {control.second.get(), kControlFd}},
      .die_with_parent = true};
  if (!disks.empty()) start.arguments.push_back("--disks=" + disks);
  if (!options.command_line.empty()) start.arguments.push_back("--cmdline=" + options.command_line);
  if (!options.console.empty()) start.arguments.push_back("--console=" + options.console.string());
  Machine machine;
  HMVM_TRY_ASSIGN(machine.process_, Process::Start(start));
  machine.agent_ = TtrpcClient::Create(std::move(agent.first));
  machine.control_ = TtrpcClient::Create(std::move(control.first));
  return machine;
}

int Machine::Wait() {
  const Result<int> status = process_.Wait();
  if (!status.has_value()) return -1;
  return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
}

int Machine::Stop() {
  (void)Control<vmm::v1::StopResponse>("Stop", vmm::v1::StopRequest());
  return Wait();
}

}  // namespace hmvm::test
