#pragma once

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/probe_machine.h"
#include "vmm/kvm/ring3_behaviours.h"

namespace hmvm {

// Runs the ring-3 program of `machine`, which `vm` has, on the new vCPU `index`, and judges what it wrote.
// Ends soon whatever the guest does. Errors are the host's own: no vCPU, no timer.
Result<Ring3Behaviours> ProbeRing3(const Kvm& kvm, const Vm& vm, const ProbeMachine& machine, uint32_t index);

}  // namespace hmvm
