// A VMM whose guest attacks it, and what can be seen of it from outside: what the guest says, what the VMM
// logs and counts, and what it takes of the host.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/ttrpc/client.h"
#include "base/unique_fd.h"
#include "security/cell.h"

namespace hmvm::test {

class AttackedMachine {
 public:
  struct Options {
    std::filesystem::path vmm;
    std::string platform;
    std::filesystem::path kernel;
    int cpus = 1;
    std::string command_line;
    bool jailed = true;             // and under seccomp, where this user can have that
    uint64_t disk_bytes = 4 << 20;  // of the read-only disk, whose end is sparse
  };
  static constexpr uint64_t kMemoryMib = 64;  // tests/attack/guest/attacker.h: kRamEnd

  // Starts it with a read-only and a writable disk, an agent's socket with words in it, and a listener for
  // vsock, all below `dir`. A VMM that can't be started is a failure of the test.
  AttackedMachine(const std::filesystem::path& dir, const Options& options);
  ~AttackedMachine();

  pid_t pid() const { return process_.pid(); }
  bool Running() const;
  // Until the guest has said that its attack is over; false: the VMM has ended, or patience has.
  bool WaitUntilQuiet() const;
  // As a host's program that connects to the guest; the guest may never answer.
  void Connect();

  std::string Console() const;
  std::string Log() const;
  std::map<std::string, uint64_t> Counters();
  std::chrono::milliseconds CpuTime() const;  // user and system, of all threads
  uint64_t ResidentKib() const;
  size_t Descriptors() const;
  size_t Threads() const;

  // By the control channel; the exit code, 128+N when a signal ended it, -1 when it did not end.
  int Stop();

  // The disks as they were made: a guest can change the second one's content, not its size.
  bool DisksAreWhole() const;

 private:
  std::filesystem::path dir_;
  std::string read_only_content_;
  Cell cell_;
  Process process_;
  UniqueFd agent_;
  std::vector<UniqueFd> connections_;
  std::unique_ptr<TtrpcClient> control_;
  bool reaped_ = false;
};

}  // namespace hmvm::test
