#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// A blocking stream connection to `port` of the host.
Result<UniqueFd> DialHost(uint32_t port);
// A socket that listens on `port` of the guest for connections from the host.
Result<UniqueFd> ListenToHost(uint32_t port);

}  // namespace hmvm::agent
