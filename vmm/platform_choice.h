#pragma once

#include "base/result.h"
#include "vmm/kvm/host_probe.h"

namespace hmvm {

enum class PlatformChoice { kAuto, kHardware, kRing3 };

// The platform to take on a host where `probe` was found: kHardware or kRing3. The error is one line that
// names what the host's KVM lacks.
Result<PlatformChoice> DecidePlatform(PlatformChoice wish, const HostProbe& probe);

}  // namespace hmvm
