// What hmvm-vmm does to itself once all it needs is open, and before it reads anything untrusted.
// docs/security.md says what each layer is for.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm {

// The namespaces that a jailed VMM is born in (Process::Options::namespaces).
extern const uint64_t kJailNamespaces;

struct Jail {
  uid_t user = 0;              // and group
  std::span<const int> files;  // the descriptors that stay, beside 0, 1 and 2

  // From an empty read-only root as `user`, without capabilities, privileges to come, or further files. The
  // process has one thread, is root, and was born in kJailNamespaces; else EPERM. Returns what this host
  // could not give, a sentence each; anything else that fails is an error, and the caller ends.
  Result<std::vector<std::string>> Enter() const;
};

// The last door, after everything executable is mapped: no memory becomes executable any more (Linux 6.3;
// before, seccomp alone sees to it). Called once by every hmvm-vmm, jailed or not, right before the guest's
// first instruction: the eBPF guard takes the call for the moment from which on the policy of running
// machines holds.
Result<> Seal();

// What of the jail this kernel and this user cannot have, for `hmvm check`: empty if all.
std::string WhyNoNamespaces();
std::string WhyNoUserNamespace();
std::string WhyNoLandlock();

}  // namespace hmvm
