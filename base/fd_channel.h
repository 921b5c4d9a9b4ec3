// Descriptors handed from one process to another over a connected AF_UNIX SOCK_SEQPACKET socket: a message
// each time, with all the descriptors that belong together.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// What one message carries at most.
inline constexpr size_t kMaxSentFds = 64;

// Sends duplicates of `fds` (1 to kMaxSentFds); the caller keeps his own. Blocks as the socket does.
Result<> SendFds(int socket, std::span<const int> fds);

// The descriptors of the next message, close-on-exec. Does not wait: EAGAIN when none has come, EPIPE when
// none can come any more, EPROTO for a message without, or with more than kMaxSentFds.
Result<std::vector<UniqueFd>> ReceiveFds(int socket);

}  // namespace hmvm
