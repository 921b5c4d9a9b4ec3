#pragma once

#include <sys/resource.h>

#include <string>

#include "base/result.h"

namespace hmvm::agent {

// The resource of "RLIMIT_NOFILE" and its like. EINVAL: no such one.
Result<int> ParseRlimitType(const std::string& type);

}  // namespace hmvm::agent
