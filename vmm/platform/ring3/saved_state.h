// What a snapshot keeps of the ring3 platform besides memory: the table of contents of its save and restore.
#pragma once

#include "base/result.h"
#include "vmm/platform/ring3/clock.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/vcpu_set.h"
#include "vmm/platform/ring3/window.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm::ring3 {

// While no thread of the machine runs.
Result<> SaveState(const GuestMemory& memory, const Window& window, const Clock& clock,
                   const EventChannels& events, const VcpuSet& vcpus, snapshot::MachineState& state);

// On new objects; memory and window are filled. An error for a window that has another build's monitor in it;
// EINVAL for what no guest could have brought about.
Result<> RestoreState(const snapshot::MachineState& state, const GuestMemory& memory, const Window& window,
                      Clock& clock, EventChannels& events, VcpuSet& vcpus);

}  // namespace hmvm::ring3
