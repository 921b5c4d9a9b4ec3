// The file machine.pb of a snapshot: a header that tells what it is and whether it is whole, then a
// MachineState.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// What this build writes, and all that it reads.
inline constexpr uint32_t kStateFormat = 1;
inline constexpr size_t kMaxStateBytes = 16 << 20;

std::string EncodeState(const snapshot::MachineState& state);
// What is in the state is not checked, but for its being one: no snapshot, another format, cut, damaged.
Result<snapshot::MachineState> DecodeState(std::string_view file);

// The same from the start of an open file; errors name it.
Result<snapshot::MachineState> ReadState(int fd, const std::string& name);

// What a person wants to know of it, as one line of JSON.
std::string StateReport(const snapshot::MachineState& state);

}  // namespace hmvm
