// Whether this host is one that a snapshot's guest can go on on.
#pragma once

#include <string_view>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// What a guest of `platform` sees of this host. Reads /proc and /sys, so before the jail.
Result<snapshot::HostFit> ReadHostFit(const Kvm& kvm, std::string_view platform);

// The error says what is different: a guest goes on using the CPU features it has seen.
Result<> CheckHostFit(const snapshot::HostFit& saved, const snapshot::HostFit& here);

}  // namespace hmvm
