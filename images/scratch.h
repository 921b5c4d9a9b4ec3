#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace hmvm {

// Runs `work` with a tmpfs of at most `size_bytes` over the empty directory `directory`, on a thread with a
// mount namespace of its own: nobody else sees what `work` does there, and all is gone with its end or its
// death. Threads and programs that `work` starts see it too. Code EPERM without the right to mount.
Result<> RunOnTmpfs(const std::string& directory, uint64_t size_bytes, const std::function<Result<>()>& work);

// The memory that a tmpfs may take without harm to the host's other tenants: a quarter of what is available.
uint64_t SpareMemoryBytes();

}  // namespace hmvm
