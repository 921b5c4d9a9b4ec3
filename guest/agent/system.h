// The guest as a whole: what the first process of a system does before and after everything else.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace hmvm::agent {

// Mounts /proc, /sys, /dev and the cgroup hierarchy, brings the loopback interface up, tunes the kernel.
Result<> PrepareSystem();

// Kills every other process and reaps it.
void KillEverything();

// Writes what is not yet written and cuts the power. Returns only if the machine cannot do that.
void CutPower();

// Of this guest: MemTotal; 0 where /proc can't be read.
uint64_t MemoryTotalBytes();

// Puts the first `count` processors online, those that are not.
Result<> BringUpProcessors(uint32_t count);

}  // namespace hmvm::agent
