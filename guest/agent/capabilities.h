#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm::agent {

// A bit for each of the kernel's capabilities. EINVAL: a name that is none.
Result<uint64_t> ParseCapabilities(const std::vector<std::string>& names);

// Drops all that is not in `set` from the bounding set of the calling thread; needs CAP_SETPCAP.
Result<> LimitBoundingSet(uint64_t set);

// Makes `set` the effective and permitted capabilities of the calling thread; inheritable and ambient ones
// go. Only to be called as uid 0: another uid has lost its capabilities with setuid(2), and keeps none over
// execve(2).
Result<> SetCapabilities(uint64_t set);

}  // namespace hmvm::agent
