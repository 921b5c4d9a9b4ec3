// The deeds of hmvm-vmm-hostile.
#pragma once

#include <liburing.h>

#include <string>
#include <string_view>

namespace hmvm::test {

// What it tries to reach, and what it has.
struct HostileTargets {
  int pid = 0;       // a process of the test's, by its number on the host
  int tcp_port = 0;  // on the loopback device of the test's network namespace
  std::string unix_path;
  std::string abstract_name;
  io_uring* ring = nullptr;  // its disk's; none on hosts without io_uring
};

// Does what kHostileAttacks calls `name`, with system calls only: no filter knows the C library's helpers.
// Returns what stopped it, in a few words; empty: nothing did.
std::string Attack(std::string_view name, const HostileTargets& targets);

}  // namespace hmvm::test
