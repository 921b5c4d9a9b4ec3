#include "tests/support/machine.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd_channel.h"
#include "base/file.h"

namespace hmvm::test {

Result<Machine> Machine::Start(const Options& options) {
  constexpr int kAgentFd = 3, kControlFd = 4, kFilesFd = 5;
  HMVM_TRY_ASSIGN(SocketPair agent, MakeSocketPair(SOCK_STREAM));
  HMVM_TRY_ASSIGN(SocketPair control, MakeSocketPair(SOCK_STREAM));
  HMVM_TRY_ASSIGN(SocketPair files, MakeSocketPair(SOCK_SEQPACKET));
  std::string disks;
  for (const std::string& disk : options.disks) disks += (disks.empty() ? "" : ",") + disk;
  Process::Options start{
      .arguments = {options.vmm, "--platform=" + options.platform, "--agent=fd:" + std::to_string(kAgentFd),
                    "--control=fd:" + std::to_string(kControlFd), "--files=fd:" + std::to_string(kFilesFd)},
      .fds = {{agent.second.get(), kAgentFd},
              {control.second.get(), kControlFd},
              {files.second.get(), kFilesFd}},
      .die_with_parent = true,
      .cgroup = options.cgroup};
  if (!options.restore_archive.empty()) {
    start.arguments.push_back("--archive=" + options.restore_archive.string());
  } else if (options.restore.empty()) {
    start.arguments.insert(
        start.arguments.end(),
        {"--kernel=" + options.kernel.string(), "--initrd=" + options.initramfs.string(),
         "--cpus=" + std::to_string(options.cpus), "--memory_mib=" + std::to_string(options.memory_mib)});
  } else {
    std::string memory;
    for (const std::filesystem::path& parent : options.restore_parents)
      memory += (parent / "memory").string() + ",";
    start.arguments.insert(start.arguments.end(),
                           {"--restore=" + (options.restore / "machine.pb").string(),
                            "--memory=" + memory + (options.restore / "memory").string()});
  }
  if (options.memory_verified) start.arguments.push_back("--memory_verified");
  if (options.paused) start.arguments.push_back("--paused");
  if (!disks.empty()) start.arguments.push_back("--disks=" + disks);
  if (!options.io_limits.empty()) start.arguments.push_back("--io_limits=" + options.io_limits);
  if (!options.command_line.empty()) start.arguments.push_back("--cmdline=" + options.command_line);
  if (!options.console.empty()) start.arguments.push_back("--console=" + options.console.string());
  Machine machine;
  HMVM_TRY_ASSIGN(machine.process_, Process::Start(start));
  machine.agent_ = TtrpcClient::Create(std::move(agent.first));
  machine.control_ = TtrpcClient::Create(std::move(control.first));
  machine.files_ = std::move(files.first);
  return machine;
}

Result<vmm::v1::SnapshotResponse> Machine::Snapshot(const std::filesystem::path& folder,
                                                    const vmm::v1::SnapshotRequest& request) {
  std::filesystem::create_directories(folder);
  HMVM_TRY_ASSIGN(const UniqueFd state, OpenFile(folder / "machine.pb", O_RDWR | O_CREAT | O_EXCL, 0600));
  HMVM_TRY_ASSIGN(const UniqueFd memory, OpenFile(folder / "memory", O_RDWR | O_CREAT | O_EXCL, 0600));
  const int fds[] = {state.get(), memory.get()};
  HMVM_TRY(SendFds(files_.get(), fds));
  return Control<vmm::v1::SnapshotResponse>("Snapshot", request);
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
