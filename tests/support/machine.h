// hmvm-vmm started directly, without supervisor and images: the guest's agent on one socket, the VMM's own
// API on another. For tests of the machine below a container, and for benches.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/ttrpc/client.h"
#include "guest/api/agent.pb.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm::test {

class Machine {
 public:
  struct Options {
    std::filesystem::path vmm;
    std::filesystem::path kernel;
    std::filesystem::path initramfs;
    std::string platform = "auto";
    unsigned cpus = 1;
    unsigned memory_mib = 128;
    std::vector<std::string> disks;  // "ro:PATH" or "rw:PATH", from /dev/vda on
    std::string command_line;        // more of the guest's kernel command line
    std::string io_limits;           // of the disks, as hmvm-vmm takes them
    std::filesystem::path console;   // a file for what the guest's consoles say; empty: nowhere
    // A folder that Snapshot() has filled: the machine goes on from there, whatever is said above of kernel,
    // initramfs, cpus, memory and command line.
    std::filesystem::path restore;
    // The folders of the snapshots that it is a diff of, the full one first.
    std::vector<std::filesystem::path> restore_parents;
    std::filesystem::path restore_archive;  // the same from an exported snapshot
    bool memory_verified = false;           // of a snapshot that has been restored before
    bool paused = false;
    int cgroup = -1;  // of version 2, where it is born; -1: the caller's
  };

  // Returns when the process has been started, long before the guest answers.
  static Result<Machine> Start(const Options& options);

  // Both wait for their answers: calls may be made at once.
  template <typename Response, typename Request>
  Result<Response> Agent(std::string_view method, const Request& request) {
    return agent_->Call<Response>("hmvm.agent.v1.Agent", method, request, kAnswerTime);
  }
  template <typename Response, typename Request>
  Result<Response> Control(std::string_view method, const Request& request) {
    return control_->Call<Response>("hmvm.vmm.v1.Vmm", method, request, kAnswerTime);
  }

  // Into `folder`, which is made.
  Result<vmm::v1::SnapshotResponse> Snapshot(const std::filesystem::path& folder,
                                             const vmm::v1::SnapshotRequest& request = {});

  pid_t pid() const { return process_.pid(); }
  void Signal(int signal) { (void)process_.Signal(signal); }
  void CloseControl() { control_.reset(); }
  // The exit code of hmvm-vmm, 128+N when a signal ended it. To be called once, at the end.
  int Wait();
  // Ends it like a power cut, without waiting for the guest. Returns Wait()'s.
  int Stop();

 private:
  static constexpr std::chrono::seconds kAnswerTime{300};

  Process process_;
  std::unique_ptr<TtrpcClient> agent_;
  std::unique_ptr<TtrpcClient> control_;
  UniqueFd files_;
};

}  // namespace hmvm::test
