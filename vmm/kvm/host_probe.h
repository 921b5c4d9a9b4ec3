// What this host's KVM can do, found out by trying it: which platform fits, and why. `--platform=auto`
// decides by it and `hmvm check` prints it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

struct HostFinding {
  enum class Verdict {
    kOk,
    kNote,    // worth knowing; nothing is missing
    kMissing  // a platform that needs it cannot run here
  };
  std::string name;     // "guest ring 0"
  std::string value;    // "interpreted (2.5 ms for 2,000 iterations)"
  std::string meaning;  // one line: what follows from it
  Verdict verdict = Verdict::kOk;
};

struct HostProbe {
  bool emulated_ring0 = false;  // KVM interprets the guest's ring 0: the hardware platform would crawl
  bool hardware_usable = false;
  bool ring3_usable = false;
  std::vector<HostFinding> findings;

  // The platform for `--platform=auto`: "hardware", "ring3", or "" when neither can run here.
  std::string BestPlatform() const;
};

// Takes a few milliseconds: it runs a throw-away VM of a few pages. An error means that not even that could
// be done.
Result<HostProbe> ProbeHost(const Kvm& kvm);

}  // namespace hmvm
