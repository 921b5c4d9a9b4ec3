// What the guard tells of a virtual machine monitor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hmvm {

struct GuardEvent {
  uint64_t monotonic_ns = 0;
  uint64_t cgroup = 0;
  std::string kind;   // "system call", "32-bit system call", "io_uring", "socket", "process", "program",
                      // "lsm", and "seccomp": its filter has killed the VMM
  std::string deed;   // "killed", "denied", "noted"
  std::string state;  // "setting up", "sealed"
  int number = 0;
  std::string call;  // "openat", "sendmsg"; "512" for what has no name
  std::array<uint64_t, 6> arguments = {};
  std::vector<uint64_t> stack;  // user space's, innermost first; what the process itself says of it
  uint32_t pid = 0;
  uint32_t tid = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string thread;  // names are the process's own choice, too
  std::string process;

  bool operator==(const GuardEvent&) const = default;

  // "openat(0xffffff9c, 0x7ffd..., 0, 0, 0, 0) by thread 'vcpu0' of process 4711, sealed"
  std::string Describe() const;
};

// A record of the ring, or of the machine's entry. Nothing: it is none.
std::optional<GuardEvent> DecodeGuardEvent(std::span<const std::byte> record);

// "openat"; a decimal number where there is no name.
std::string SyscallName(int number);

}  // namespace hmvm
