// Whether this host is one that a snapshot's guest can go on on.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// Which KVM this is: another one after a reboot, and when one of its modules was loaded anew. Read from /proc
// and /sys, so before the jail; empty where they do not tell.
std::string KvmInstance();

// What a guest of `platform` sees of this host.
Result<snapshot::HostFit> ReadHostFit(const Kvm& kvm, std::string kvm_instance, std::string_view platform);

// The error says what is different: a guest goes on using the CPU features it has seen.
Result<> CheckHostFit(const snapshot::HostFit& saved, const snapshot::HostFit& here);

}  // namespace hmvm
