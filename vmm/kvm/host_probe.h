// What this host's KVM can do, found out by trying it: which platform fits, and why. `--platform=auto`
// decides by it and `hmvm check` prints it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/host_finding.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

struct ProbeVm;

struct HostProbe {
  bool emulated_ring0 = false;  // KVM interprets the guest's ring 0: the hardware platform would crawl
  bool hardware_usable = false;
  bool ring3_usable = false;
  std::string ring3_refusal;  // where not usable: the one line that says why
  std::vector<HostFinding> findings;
  // The throw-away VM. KVM takes some 15 ms to end one, so its owner chooses when.
  std::shared_ptr<const ProbeVm> vm = nullptr;

  // The platform for `--platform=auto`: "hardware", "ring3", or "" when neither can run here.
  std::string BestPlatform() const;
};

// Takes a few milliseconds: it runs a throw-away VM of a few pages. An error means that not even that could
// be done.
Result<HostProbe> ProbeHost(const Kvm& kvm);

}  // namespace hmvm
