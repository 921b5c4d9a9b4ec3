// What making and restoring a machine ask of the host, with errors for a person.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/touched_pages.h"

namespace hmvm {

// What a machine needs that has a name on the host: opened while the VMM can still open anything.
struct HostAccess {
  Kvm kvm;
  std::string kvm_instance;
  // None where there is no /proc: then untouched memory is read like any other.
  std::optional<TouchedPages> touched_pages;
  UniqueFd userfaultfd;  // for a restore from an exported snapshot

  std::vector<int> OpenFiles() const;
};

// `kvm` is a path or fd:N.
Result<HostAccess> OpenHost(const std::string& kvm);
// An error when the host has less.
Result<> CheckHostMemory(uint64_t memory_bytes);

}  // namespace hmvm
