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

// Makes `effective` the effective capabilities of the calling thread, and these and `more` the permitted
// ones; inheritable and ambient ones go. All of them must be permitted before.
Result<> SetCapabilities(uint64_t effective, uint64_t more);

}  // namespace hmvm::agent
