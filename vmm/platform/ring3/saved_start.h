// StartState as a snapshot keeps it.
#pragma once

#include "base/result.h"
#include "vmm/platform/ring3/start_state.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm::ring3 {

snapshot::Ring3Start SaveStart(const StartState& state);
// Whether a vCPU can start from it is left to CanStart().
Result<StartState> RestoreStart(const snapshot::Ring3Start& saved);

}  // namespace hmvm::ring3
