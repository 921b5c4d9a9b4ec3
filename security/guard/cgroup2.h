// Where the hierarchy of version 2 is, also beside those of version 1.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hmvm {

// Its mount point; empty: the host has none.
std::string FindCgroup2();

// What the kernel's programs know a cgroup of version 2 by; `directory` is open.
Result<uint64_t> CgroupId(int directory);

// That of the cgroup a process is in. ENOENT: it has none.
Result<uint64_t> CgroupIdOfProcess(int pid);

}  // namespace hmvm
