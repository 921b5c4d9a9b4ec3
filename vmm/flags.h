#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "security/seccomp.h"
#include "vmm/machine.h"

namespace hmvm {

// What hmvm-vmm's command line asks for, its files opened.
struct Flags {
  // The machine's user, and the lock that keeps it ours (security/machine_user.h); none: no jail.
  struct JailFlags {
    uid_t user = 0;
    UniqueFd lock;
  };

  bool probe = false;  // look at the host only; all else is unset
  UniqueFd inspect;    // a machine.pb to describe, nothing else; all else is unset then
  MachineConfig machine;
  bool paused = false;
  UniqueFd files;    // where descriptors for requests come from (base/fd_channel.h)
  UniqueFd control;  // none: only signals and the guest end the machine
  std::string kvm;   // a path or fd:N
  std::optional<JailFlags> jail;
  SeccompMode seccomp = SeccompMode::kOff;
  std::vector<SyscallRule> syscalls;  // allowed beside the table's

  // All that is open for these flags.
  std::vector<int> OpenFiles() const;
  // Gives each of them its place (security/fd_class).
  Result<> PlaceFiles();
};

// Parses with gflags, which itself ends the process with status 1 for a flag it does not know and with 0
// after --help. Errors name the flag and its value.
Result<Flags> ParseFlags(int argc, char** argv);

// "ro:F,rw:F,none,...": the parts and their modes, files not opened.
struct DiskArgument {
  std::string file;  // empty: an empty drive
  bool read_only;
};
Result<std::vector<DiskArgument>> ParseDisks(const std::string& text);

// "vda.read_bps=1048576,vda.write_iops=50,...": the limits of each of `disks` disks, in their order.
Result<std::vector<IoLimits>> ParseIoLimits(const std::string& text, size_t disks);

}  // namespace hmvm
